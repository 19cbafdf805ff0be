//! Writing files whole, so that no half of one is ever seen under its name.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether a path names something that a file must not take the place of: a device, a pipe, a socket.
/// `/dev/null` is written to, not replaced.
pub fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir())
}

/// A name beside a path, this process's and this call's own.
pub fn beside(path: &Path) -> Result<PathBuf> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let unique = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let name = path.file_name().ok_or_else(|| Error::file(path, "is not a file name"))?;
    Ok(path.with_file_name(format!(".{}.{unique}.part", name.to_string_lossy())))
}

/// Writes beside the place and renames; straight into what is no regular file. Errors name the file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = beside(path)?;
    let written = if is_special(path) {
        std::fs::write(path, bytes)
    } else {
        std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path))
    };
    written.map_err(|problem| {
        // The first failure is the one to report.
        let _ = std::fs::remove_file(&beside);
        Error::file(path, format!("can't be written: {problem}"))
            .remedy("check the folder and the space left on the disk")
            .caused_by(problem)
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::FileTypeExt;

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let path = std::env::temp_dir().join(format!("sardonyx-socket-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        // A socket can't be written to as a file; it stays what it is.
        assert!(write_whole(&path, b"x").is_err());
        assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
        std::fs::remove_file(&path).unwrap();
        write_whole(&path, b"x").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        std::fs::remove_file(&path).unwrap();
    }
}
