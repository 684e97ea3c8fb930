//! A store that hangs: in place of the next commit of `events` stands a pipe that nobody writes to, and who reads it
//! waits.
use crate::harness::Harness;
use lake::location::Location;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

pub struct Pipe(PathBuf);

impl Pipe {
    pub async fn before_the_next_commit(harness: &Harness) -> Pipe {
        let next = harness.events().await.unwrap().version() + 1;
        let Location::Local(events) = harness.lake().events else { panic!("the harness is local") };
        let pipe = events.join(format!("_delta_log/{next:020}.json"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        Pipe(pipe)
    }

    /// Lets its readers go; then it is no more.
    pub fn open(self) {
        let writer = fs::File::options().read(true).write(true).open(&self.0).unwrap();
        fs::remove_file(&self.0).unwrap();
        drop(writer);
    }
}
