//! Tensors in files: `.npy`, `.npz` and `.pb` (a TensorProto, which holds what numpy can't).

use super::external::{ExternalFiles, map_file};
use super::{decode, npy, tensor, wire};
use crate::error::{Error, ErrorKind, Result};
use crate::replace::write_whole;
use crate::tensor::Tensor;
use onnx_protobuf::{Message, TensorProto};
use std::io::{Cursor, Read, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The file name, without its ending, that goes with a value's name: characters outside `[A-Za-z0-9_.-]`
/// become `_`.
pub fn file_name(value_name: &str) -> String {
    value_name.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }).collect()
}

/// Reads one tensor from an `.npy` or `.pb` file, told apart by content. Errors name the file.
pub fn read_tensor(path: &Path) -> Result<Tensor> {
    let bytes = map_file(path)?;
    let tensor = if npy::is_npy(&bytes) {
        npy::decode(&bytes)
    } else {
        decode_pb(&bytes, path).map(|(_, tensor)| tensor)
    };
    tensor.map_err(|error| error.in_file(path))
}

/// Reads a `.pb` file: the tensor and the name that it bears.
pub fn read_pb(path: &Path) -> Result<(String, Tensor)> {
    decode_pb(&map_file(path)?, path).map_err(|error| error.in_file(path))
}

fn decode_pb(bytes: &[u8], path: &Path) -> Result<(String, Tensor)> {
    // What the bytes are can't be told from a name that promises nothing.
    if path.extension().is_none_or(|ending| ending != "pb") {
        return Err(Error::new(ErrorKind::File, "is not a tensor file")
            .remedy("tensors are read from .npy, .npz and .pb"));
    }
    let proto: TensorProto = decode(bytes, wire::Kind::Tensor)?;
    // The folder of a bare name is the empty path, which can't be looked up.
    let folder =
        path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let tensor = tensor::read(&proto, &mut ExternalFiles::new(folder))?;
    Ok((proto.name, tensor))
}

/// Reads the arrays of an `.npz` file, in the file's order. Errors name the file and the array.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let bytes = map_file(path)?;
    let broken = |problem: String| {
        Error::file(path, format!("can't be read as .npz: {problem}"))
            .remedy("save it again with numpy.savez")
    };
    let mut zip = ZipArchive::new(Cursor::new(&bytes[..])).map_err(|problem| broken(problem.to_string()))?;
    let mut arrays = vec![];
    for index in 0..zip.len() {
        let mut file = zip.by_index(index).map_err(|problem| broken(problem.to_string()))?;
        let Some(name) = file.name().strip_suffix(".npy").map(str::to_string) else { continue };
        let mut content = vec![];
        // The size that the archive claims is a limit and not a size to allocate.
        let limit = file.size();
        file.by_ref().take(limit).read_to_end(&mut content).map_err(|problem| broken(problem.to_string()))?;
        let tensor = npy::decode(&content).map_err(|error| error.at_tensor(&name).in_file(path))?;
        arrays.push((name, tensor));
    }
    Ok(arrays)
}

/// Writes an `.npy` file. Errors for types that numpy lacks: bfloat16, 8-bit and 4-bit floats, 4-bit and
/// 2-bit integers.
pub fn write_npy(path: &Path, tensor: &Tensor) -> Result<()> {
    let bytes = npy::encode(tensor).map_err(|error| error.in_file(path))?;
    write_whole(path, &bytes)
}

/// Writes an `.npz` file of named arrays, compressed.
pub fn write_npz(path: &Path, arrays: &[(String, Tensor)]) -> Result<()> {
    let failed = |problem: std::io::Error| {
        Error::file(path, format!("can't be written: {problem}")).caused_by(problem)
    };
    let mut zip = ZipWriter::new(Cursor::new(vec![]));
    for (name, tensor) in arrays {
        let content = npy::encode(tensor).map_err(|error| error.at_tensor(name).in_file(path))?;
        // Beyond 4 GiB an entry needs the longer header, which has to be asked for.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .large_file(content.len() >= u32::MAX as usize);
        zip.start_file(format!("{name}.npy"), options).map_err(|problem| failed(problem.into()))?;
        zip.write_all(&content).map_err(failed)?;
    }
    let bytes = zip.finish().map_err(|problem| failed(problem.into()))?;
    write_whole(path, &bytes.into_inner())
}

/// Writes a TensorProto, which holds every type, under a name.
pub fn write_pb(path: &Path, name: &str, tensor: &Tensor) -> Result<()> {
    let proto = tensor::write(name, tensor).map_err(|error| error.in_file(path))?;
    let bytes = proto
        .write_to_bytes()
        .map_err(|problem| Error::file(path, format!("can't be written: {problem}")))?;
    write_whole(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, cast};

    #[test]
    fn tensors_come_back_from_files_and_nothing_is_left_beside_them() {
        let folder = std::env::temp_dir().join(format!("sardonyx-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let a = Tensor::new([2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
        let b = cast(&a, DType::BF16, true).unwrap();
        write_npy(&folder.join("a.npy"), &a).unwrap();
        assert_eq!(read_tensor(&folder.join("a.npy")).unwrap(), a);
        write_pb(&folder.join("b.pb"), "b", &b).unwrap();
        assert_eq!(read_pb(&folder.join("b.pb")).unwrap(), ("b".to_string(), b.clone()));
        let both = vec![("x/y".to_string(), a.clone()), ("n".to_string(), Tensor::int64s([7]))];
        write_npz(&folder.join("c.npz"), &both).unwrap();
        assert_eq!(read_npz(&folder.join("c.npz")).unwrap(), both);
        assert!(write_npy(&folder.join("b.npy"), &b).is_err());
        assert!(write_npy(&folder.join("none/b.npy"), &a).is_err());
        assert!(read_npz(&folder.join("a.npy")).unwrap_err().to_string().contains("a.npy"));
        let mut names: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a.npy", "b.pb", "c.npz"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn names_become_file_names() {
        assert_eq!(file_name("a/b:0 é.x-y_Z"), "a_b_0__.x-y_Z");
    }
}
