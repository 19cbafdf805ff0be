//! What is evaluated: files with what is expected of each, from subfolders or from a CSV file.

use sardonyx::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The most files of one evaluation.
const MOST: usize = 10_000_000;
/// The deepest folder below a label's own.
const DEEPEST: usize = 8;

const PICTURES: [&str; 13] =
    ["png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "pnm", "ppm", "pgm", "pbm", "jp2", "npy"];

/// A file and what is expected of it, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub path: PathBuf,
    pub expected: Vec<String>,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Samples {
    pub list: Vec<Sample>,
    /// Files that are neither pictures nor arrays.
    pub others: Vec<PathBuf>,
}

/// Whether a file is of a kind that is read.
fn is_sample(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| PICTURES.contains(&extension.as_str()))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |problem: std::io::Error| {
        Error::file(folder, format!("the folder can't be read: {problem}"))
            .remedy("check the path")
            .caused_by(problem)
    };
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A folder whose subfolders' names are the labels of the files in them.
pub fn of_folders(folder: &Path) -> Result<Samples> {
    let mut samples = Samples::default();
    for path in entries(folder)? {
        if path.is_dir() {
            let label = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            collect(&path, &label, DEEPEST, &mut samples)?;
        } else if is_sample(&path) {
            return Err(Error::file(&path, "has no label").remedy(
                "put it into a subfolder that has its label's name, or name the labels with --labels FILE.csv",
            ));
        } else {
            samples.others.push(path);
        }
    }
    if samples.list.is_empty() {
        return Err(Error::file(folder, "holds no picture in a subfolder").remedy(
            "give a folder with a subfolder for each label and pictures in it, or name the labels with --labels FILE.csv",
        ));
    }
    Ok(samples)
}

fn collect(folder: &Path, label: &str, depth: usize, samples: &mut Samples) -> Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            if let Some(depth) = depth.checked_sub(1) {
                collect(&path, label, depth, samples)?;
            }
        } else if is_sample(&path) {
            if samples.list.len() == MOST {
                return Err(Error::file(folder, format!("more than {MOST} pictures"))
                    .remedy("evaluate them in parts"));
            }
            samples.list.push(Sample { path, expected: vec![label.to_string()] });
        } else {
            samples.others.push(path);
        }
    }
    Ok(())
}

/// A CSV file with a row for each file: `file`, a path relative to the folder, and what is expected, in one
/// column or more.
pub fn of_csv(csv: &Path, folder: &Path) -> Result<Samples> {
    let wrong = |what: String| {
        Error::file(csv, what).remedy("write a header `file,label` and a row for each file, in UTF-8")
    };
    // A folder that isn't there is told as such, rather than by its first file.
    entries(folder)?;
    let mut reader =
        csv::Reader::from_path(csv).map_err(|problem| wrong(format!("can't be read: {problem}")))?;
    let header = reader.headers().map_err(|problem| wrong(format!("can't be read: {problem}")))?.clone();
    let named = |name: &str| header.iter().position(|column| plain(column).eq_ignore_ascii_case(name));
    let Some(file) = named("file") else { return Err(wrong("has no column 'file'".into())) };
    if header.len() < 2 {
        return Err(wrong("has no column beside 'file'".into()));
    }
    let mut list = vec![];
    for (index, record) in reader.records().enumerate() {
        let row = index + 2;
        let record = record.map_err(|problem| wrong(format!("row {row}: {problem}")))?;
        let path = record.get(file).map(str::trim).filter(|path| !path.is_empty());
        let Some(path) = path else { return Err(wrong(format!("row {row} names no file"))) };
        let values = record.iter().enumerate().filter(|(column, _)| *column != file);
        let expected: Vec<String> = values.map(|(_, value)| value.trim().to_string()).collect();
        if let Some(empty) = expected.iter().position(String::is_empty) {
            let column = header.iter().enumerate().filter(|(column, _)| *column != file).nth(empty);
            let column = column.map_or("", |(_, name)| name);
            return Err(wrong(format!("row {row}: '{path}' has no {column}")));
        }
        if list.len() == MOST {
            return Err(wrong(format!("has more than {MOST} rows")));
        }
        list.push(Sample { path: folder.join(path), expected });
    }
    if list.is_empty() {
        return Err(wrong("has no rows".into()));
    }
    Ok(Samples { list, others: vec![] })
}

/// Without the mark that some programs put before UTF-8.
fn plain(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}
