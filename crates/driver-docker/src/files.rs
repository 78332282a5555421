//! The archive in which files travel into a container that was made and does not run yet.

use spawnpoint_driver::WorkloadFile;

/// A tar archive of the files, for the root of a container. It holds no entries for folders: the engine makes those that
/// are missing and leaves the others as they are.
///
/// # Errors
/// A path does not fit into an archive.
pub fn archive(files: &[WorkloadFile]) -> std::io::Result<Vec<u8>> {
    let bytes: usize = files.iter().map(|file| file.content.len() + 1536).sum();
    let mut archive = tar::Builder::new(Vec::with_capacity(bytes));
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(file.content.len()).unwrap_or(u64::MAX));
        header.set_mode(file.mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, file.path.trim_start_matches('/'), &*file.content)?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn an_archive_holds_the_files_and_nothing_else() {
        let long = format!("/data/{}/{}", "x".repeat(120), "y".repeat(120));
        let files: Vec<_> = ["/data/a b.cfg", "/ü", &long]
            .map(|path| WorkloadFile { path: path.into(), mode: 0o640, content: path.to_owned().into() })
            .into();
        let bytes = archive(&files).unwrap();
        let mut read = tar::Archive::new(&*bytes);
        let mut found = Vec::new();
        for entry in read.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = format!("/{}", entry.path().unwrap().display());
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            assert_eq!(content, path);
            assert_eq!(entry.header().mode().unwrap(), 0o640);
            found.push(path);
        }
        assert_eq!(found, ["/data/a b.cfg", "/ü", &long]);
    }
}
