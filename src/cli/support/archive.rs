//! A tar archive (POSIX ustar), compressed: so little of the format that it needs no library.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};

/// Everything in a tar is a multiple of it.
const BLOCK: usize = 512;
/// Longest name that a header takes.
const NAME_BYTES_MAX: usize = 100;

/// One file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub content: Vec<u8>,
}

/// Writes the archive whole (0600), with all files in one directory; nothing is overwritten.
///
/// # Errors
/// If it is there already, or can't be written; what was begun is removed.
pub fn write(path: &Path, directory: &str, files: &[File], seconds: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = write_to(file, directory, files, seconds).and_then(|file| file.sync_all());
    written.inspect_err(|_| drop(std::fs::remove_file(path)))
}

fn write_to<W: Write>(out: W, directory: &str, files: &[File], seconds: u64) -> io::Result<W> {
    let mut gz = GzEncoder::new(out, Compression::default());
    for File { name, content } in files {
        gz.write_all(&header(&format!("{directory}/{name}"), content.len(), seconds)?)?;
        gz.write_all(content)?;
        gz.write_all(&vec![0; content.len().next_multiple_of(BLOCK) - content.len()])?;
    }
    gz.write_all(&[0; 2 * BLOCK])?;
    gz.finish()
}

fn header(name: &str, bytes: usize, seconds: u64) -> io::Result<[u8; BLOCK]> {
    if name.len() > NAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: the name is too long for a tar")));
    }
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000600\0"); // mode
    put(108, "0000000\0"); // uid
    put(116, "0000000\0"); // gid
    put(124, &format!("{bytes:011o}\0"));
    put(136, &format!("{seconds:011o}\0"));
    put(148, "        "); // the checksum counts as blanks
    put(156, "0"); // a regular file
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_unpacked_by_the_system_s_tar() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a.tar.gz");
        let files = [
            File { name: "one.txt".to_owned(), content: b"hello".to_vec() },
            File { name: "two.txt".to_owned(), content: vec![b'x'; 2 * BLOCK] },
            File { name: "empty.txt".to_owned(), content: Vec::new() },
        ];
        write(&path, "bundle", &files, 1_700_000_000).unwrap();
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        let done =
            std::process::Command::new("tar").arg("-xzf").arg(&path).arg("-C").arg(place.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        for file in &files {
            assert_eq!(std::fs::read(place.path().join("bundle").join(&file.name)).unwrap(), file.content);
        }
        assert!(write(&path, "bundle", &files, 0).is_err(), "it is there already");
    }
}
