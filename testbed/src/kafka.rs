//! One Apache Kafka broker (KRaft), with the ways to hurt it.
use std::process::Output;

/// A broker of this test.
pub struct Broker {}

impl Broker {
    /// A fresh one; ready for clients when it returns. Ends when dropped, or with the process.
    pub fn start() -> Broker {
        panic!("being built")
    }

    /// One for all tests of this process that do it no harm; use topics of their own.
    pub fn shared() -> &'static Broker {
        panic!("being built")
    }

    /// `127.0.0.1:PORT`, the same after a restart.
    pub fn bootstrap(&self) -> String {
        panic!("being built")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {}

    /// Starts again on the same ports and data; ready when it returns.
    pub fn restart(&mut self) {}

    /// SIGSTOP: connections stay, nothing answers.
    pub fn pause(&self) {}

    /// SIGCONT.
    pub fn resume(&self) {}

    /// Process id.
    pub fn pid(&self) -> u32 {
        0
    }

    /// Runs one of Kafka's own tools by class, e.g. `org.apache.kafka.tools.TopicCommand`, with `--bootstrap-server` set,
    /// `stdin` piped in.
    pub fn tool(&self, class: &str, args: &[&str], stdin: &str) -> Output {
        let _ = (class, args, stdin);
        panic!("being built")
    }
}
