//! A file that gets its name when it is whole, and takes no other file's place.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sink::Sink;
use crate::temporary::{self, Opened};

/// A recording on its way to a name that no file has.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: PathBuf,
    /// The name that it has until it is whole. What a killed process leaves under it belongs to nobody, and is written over.
    temporary: PathBuf,
    is_named: bool,
}

impl NewFile {
    /// Begins a file that will be at `path`.
    ///
    /// # Errors
    /// The host's; [`ErrorKind::AlreadyExists`] if a file is there that is not empty, [`ErrorKind::InvalidInput`] if
    /// something else is, [`ErrorKind::ResourceBusy`] if another process is writing it.
    pub fn create(path: &Path) -> io::Result<Self> {
        check_free(path)?;
        let temporary = temporary::name(path).ok_or(ErrorKind::InvalidInput)?;
        let file = match temporary::open(&temporary)? {
            Opened::Empty(file) => file,
            Opened::Foreign => {
                let what = format!("{} is in the way", temporary.display());
                return Err(io::Error::new(ErrorKind::AlreadyExists, what));
            }
            Opened::Busy => return Err(ErrorKind::ResourceBusy.into()),
        };
        Ok(NewFile { file, path: path.into(), temporary, is_named: false })
    }
}

/// `Err` if something that is not an empty file has this name.
fn check_free(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.is_file() => Err(ErrorKind::InvalidInput.into()),
        Ok(metadata) if metadata.len() > 0 => Err(ErrorKind::AlreadyExists.into()),
        Ok(_) => Ok(()),
    }
}

impl Sink for NewFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(to, offset)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
    fn take_place(&mut self) -> io::Result<()> {
        check_free(&self.path)?;
        // An empty file is given up; a name that was taken since then is not.
        match fs::hard_link(&self.temporary, &self.path) {
            Ok(()) => fs::remove_file(&self.temporary)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                check_free(&self.path)?;
                fs::rename(&self.temporary, &self.path)?;
            }
            // Not every file system has links.
            Err(_) => fs::rename(&self.temporary, &self.path)?,
        }
        self.is_named = true;
        let directory = self.path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_named {
            // If this fails, the next file of this name uses it.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::preamble::MAGIC;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.cvr");
        let mut file = NewFile::create(&path).expect("nothing is there");
        file.write_at(0, &MAGIC).expect("there is room");
        assert!(!path.exists());
        assert_eq!(NewFile::create(&path).expect_err("it is being written").kind(), ErrorKind::ResourceBusy);
        drop(file);
        assert_eq!(names(directory.path()), [""; 0]);
        let mut file = NewFile::create(&path).expect("nothing is there");
        file.write_at(0, &MAGIC).expect("there is room");
        file.take_place().expect("the name is free");
        drop(file);
        assert_eq!(names(directory.path()), ["a.cvr"]);
        assert_eq!(fs::read(&path).expect("the file"), MAGIC);
    }

    #[test]
    fn no_file_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.cvr");
        let mut file = NewFile::create(&path).expect("nothing is there");
        fs::write(&path, "somebody else's").expect("written");
        assert_eq!(file.take_place().expect_err("the name is taken").kind(), ErrorKind::AlreadyExists);
        drop(file);
        assert_eq!(NewFile::create(&path).expect_err("the name is taken").kind(), ErrorKind::AlreadyExists);
        assert_eq!(NewFile::create(directory.path()).expect_err("a directory").kind(), ErrorKind::InvalidInput);
        assert_eq!(fs::read(&path).expect("the file"), b"somebody else's");
        fs::write(&path, "").expect("written");
        let mut file = NewFile::create(&path).expect("an empty file may be filled");
        file.write_at(0, &MAGIC).expect("there is room");
        file.take_place().expect("an empty file may be filled");
        assert_eq!((fs::read(&path).expect("the file").len(), names(directory.path()).len()), (MAGIC.len(), 1));
        let temporary = temporary::name(&directory.path().join("b.cvr")).expect("a name");
        fs::write(&temporary, "somebody else's").expect("written");
        let refused = NewFile::create(&directory.path().join("b.cvr")).expect_err("it is not ours");
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        fs::write(&temporary, [MAGIC.as_slice(), &[7; 100]].concat()).expect("written");
        drop(NewFile::create(&directory.path().join("b.cvr")).expect("a killed process has left it"));
        assert_eq!(names(directory.path()), ["a.cvr"]);
    }
}
