//! Files that a machine boots from. One that can be read again takes no memory while the guest runs: a reset reads it
//! again, through the handle that was opened at the start, so that it may be renamed or removed meanwhile.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A file that the machine boots from.
#[derive(Clone, Debug)]
pub struct BootFile {
    name: String,
    hash: [u8; 32],
    len_bytes: usize,
    /// The content, until it was first used.
    content: Option<Vec<u8>>,
    /// Where the content comes from after that; `None`: it is kept.
    file: Option<Arc<File>>,
}

impl BootFile {
    /// With all of its content, which is kept.
    pub fn of(name: String, content: Vec<u8>) -> Self {
        let hash = *blake3::hash(&content).as_bytes();
        BootFile { name, hash, len_bytes: content.len(), content: Some(content), file: None }
    }

    /// Reads the file at `path`; `None` if it has more than `most_bytes`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path, most_bytes: u64) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        // The length is a hint: what it takes is exact then, and none for a pipe.
        let mut content = Vec::new();
        content.try_reserve_exact(metadata.len().min(most_bytes) as usize)?;
        (&file).take(most_bytes.saturating_add(1)).read_to_end(&mut content)?;
        if content.len() as u64 > most_bytes {
            return Ok(None);
        }
        let file = metadata.is_file().then(|| Arc::new(file));
        Ok(Some(BootFile { file, ..BootFile::of(path.display().to_string(), content) }))
    }

    /// Its name, for errors and for kernels that are told it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The BLAKE3 hash of its content.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Its content; `None` if that is not what it was at first.
    ///
    /// # Errors
    /// If it cannot be read again.
    pub fn content(&mut self) -> io::Result<Option<Cow<'_, [u8]>>> {
        let Some(file) = &self.file else { return Ok(self.content.as_deref().map(Cow::Borrowed)) };
        if let Some(content) = self.content.take() {
            return Ok(Some(Cow::Owned(content)));
        }
        let mut content = vec![0; self.len_bytes];
        match file.read_exact_at(&mut content, 0) {
            Ok(()) => Ok((*blake3::hash(&content).as_bytes() == self.hash).then_some(Cow::Owned(content))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn scratch(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("chronovisor-boot-file-{}-{name}", std::process::id()))
    }

    /// The content as it is now.
    fn content(file: &mut BootFile) -> Option<Vec<u8>> {
        file.content().expect("the file can be read").map(Cow::into_owned)
    }

    #[test]
    fn a_file_is_read_again_though_it_was_removed() {
        let path = scratch("removed");
        fs::write(&path, "a kernel").expect("a file");
        let mut file = BootFile::read(&path, 8).expect("it can be read").expect("it is small enough");
        fs::remove_file(&path).expect("it is there");
        assert!(file.content.is_some());
        for _ in 0..3 {
            assert_eq!(content(&mut file).as_deref(), Some(b"a kernel".as_slice()));
            assert!(file.content.is_none(), "nothing is kept");
        }
        assert_eq!(file.hash(), *blake3::hash(b"a kernel").as_bytes());
    }

    #[test]
    fn a_file_that_was_changed_is_not_taken_for_what_it_was() {
        let path = scratch("changed");
        fs::write(&path, "a kernel").expect("a file");
        let mut file = BootFile::read(&path, 100).expect("it can be read").expect("it is small enough");
        assert!(content(&mut file).is_some());
        for changed in ["a kernem", "a ker"] {
            fs::write(&path, changed).expect("it can be changed");
            assert_eq!(content(&mut file), None, "{changed}");
        }
        fs::write(&path, "a kernel").expect("it can be changed");
        assert!(content(&mut file).is_some());
        fs::remove_file(&path).expect("it is there");
    }

    #[test]
    fn what_cannot_be_read_again_is_kept() {
        let mut file = BootFile::of("pipe".into(), vec![1, 2]);
        assert_eq!((content(&mut file), content(&mut file)), (Some(vec![1, 2]), Some(vec![1, 2])));
        let zeros = BootFile::read(Path::new("/dev/zero"), 100).expect("it can be read");
        assert!(zeros.is_none(), "it is too large");
        let mut empty = BootFile::read(Path::new("/dev/null"), 100).expect("it can be read").expect("it is empty");
        assert!(empty.file.is_none());
        assert_eq!((content(&mut empty), content(&mut empty)), (Some(vec![]), Some(vec![])));
    }
}
