//! A broker with a second listener for strangers: TLS, SASL (SCRAM-SHA-512 and PLAIN), and rights.
//!
//! ```text
//!  Broker::tool, Broker::bootstrap ──▶ PLAINTEXT ─┐ anybody, who may do everything
//!                                                 ├─ broker
//!  Secured::bootstrap ───────────────▶ SASL_SSL ──┘ one of USERS, who may do what was granted: nothing at first
//! ```
//! The certificate is made at each start, signed by itself: it is its own authority.
use super::{Broker, STARTS_MAX, cluster_id, java, run, tool};
use crate::process::bound;
use crate::scratch::{self, Port};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Who may come in; the password of `NAME` is [`password`]`(NAME)`, by both mechanisms.
pub const USERS: [&str; 5] = ["playhead-ingest", "playhead-sink", "playhead-audit", "guest", "member"];
/// SASL mechanisms that the broker offers.
pub const MECHANISMS: [&str; 2] = ["SCRAM-SHA-512", "PLAIN"];

const KEY_STORE_PASSWORD: &str = "testbed";
/// The broker's authorizer hears of a grant a moment after it was made.
const LOOKS_MAX: u32 = 10;

/// Added to `server.properties`; the last line of a name counts.
const ADDITIONS: &str = r"
listeners=PLAINTEXT://127.0.0.1:@PORT@,CONTROLLER://127.0.0.1:@CONTROLLER_PORT@,SASL_SSL://127.0.0.1:@SECURED_PORT@
advertised.listeners=PLAINTEXT://127.0.0.1:@PORT@,SASL_SSL://127.0.0.1:@SECURED_PORT@
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
ssl.keystore.type=PKCS12
ssl.keystore.location=@KEY_STORE@
ssl.keystore.password=@KEY_STORE_PASSWORD@
listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required @USERS@;
";

/// A user's password. It has what a URL, TOML or a shell would take for its own.
pub fn password(user: &str) -> String {
    format!("{user} #1%$@")
}

/// A broker with rights, of this test.
pub struct Secured {
    /// The broker, with its listener for anybody.
    pub broker: Broker,
    port: Port,
    authority: PathBuf,
    /// The folder of another authority's certificate.
    other: OnceLock<TempDir>,
}

impl Broker {
    /// A fresh one with a secured listener beside the open one.
    pub fn start_secured() -> Secured {
        let started = (0..STARTS_MAX).find_map(|_| Secured::try_start());
        started.unwrap_or_else(|| panic!("the broker met a taken port {STARTS_MAX} times"))
    }
}

impl Secured {
    /// One for all tests of this process; use topics of their own, and grant rights on those alone.
    pub fn shared() -> &'static Secured {
        static SHARED: OnceLock<Secured> = OnceLock::new();
        SHARED.get_or_init(Broker::start_secured)
    }

    fn try_start() -> Option<Secured> {
        let (dir, port) = (scratch::dir("kafka-"), scratch::port());
        let key_store = make_key(dir.path());
        let authority = export(&key_store, dir.path());
        let mut users = String::new();
        for user in USERS {
            write!(users, " user_{user}={:?}", password(user)).expect("a string takes all");
        }
        let additions = ADDITIONS
            .replace("@SECURED_PORT@", &port.number.to_string())
            .replace("@KEY_STORE@", &key_store.to_string_lossy())
            .replace("@KEY_STORE_PASSWORD@", KEY_STORE_PASSWORD)
            .replace("@USERS@", &users);
        let broker = Broker::launch(dir, &additions, format_with_users)?;
        Some(Secured { broker, port, authority, other: OnceLock::new() })
    }

    /// `127.0.0.1:PORT` of the secured listener, the same after a restart.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// librdkafka's properties with which `user` comes in by `mechanism`.
    pub fn properties(&self, mechanism: &str, user: &str) -> BTreeMap<String, String> {
        let properties = [
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.location", &*self.authority.to_string_lossy()),
            ("sasl.mechanism", mechanism),
            ("sasl.username", user),
            ("sasl.password", &password(user)),
        ];
        properties.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// As [`Broker::tool`], at the secured listener: the tool needs credentials, by one of its options.
    pub fn tool(&self, class: &str, args: &[&str], stdin: &str) -> Output {
        run(tool(class, &self.bootstrap(), args), stdin)
    }

    /// File of a certificate (PEM) that is not the broker's authority.
    pub fn another_authority(&self) -> PathBuf {
        let dir = self.other.get_or_init(|| {
            let dir = scratch::dir("authority-");
            export(&make_key(dir.path()), dir.path());
            dir
        });
        certificate(dir.path())
    }

    /// Grants rights, in the words of `kafka-acls.sh --add`, e.g. `--allow-principal User:guest --topic t --operation Read`:
    /// one resource. They hold when this returns.
    pub fn grant(&self, words: &str) {
        const TOOL: &str = "org.apache.kafka.tools.AclCommand";
        let words: Vec<&str> = words.split_whitespace().collect();
        self.broker.expect_tool(TOOL, &[&["--add"], &words[..]].concat(), "");
        // The same question without its operations, and an answer of lines such as
        // `(principal=User:guest, host=*, operation=DESCRIBE_CONFIGS, permissionType=ALLOW)`.
        let (mut list, mut operations) = (vec!["--list"], Vec::new());
        for pair in words.chunks(2) {
            match *pair {
                ["--operation", operation] => operations.push(format!("operation={},", operation.to_lowercase())),
                ["--allow-principal", principal] => list.extend(["--principal", principal]),
                _ => list.extend(pair),
            }
        }
        for _ in 0..LOOKS_MAX {
            let holds = self.broker.expect_tool(TOOL, &list, "").to_lowercase().replace('_', "");
            if operations.iter().all(|operation| holds.contains(operation.as_str())) {
                return;
            }
        }
        panic!("{words:?} was not granted");
    }
}

/// Formats `data` as a cluster of its own that knows the users.
fn format_with_users(dir: &Path) {
    let mut command = java(&["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
    command.args(["kafka.tools.StorageTool", "format", "--cluster-id", &cluster_id(dir), "--config"]);
    command.arg(dir.join("server.properties"));
    for user in USERS {
        let user = format!("SCRAM-SHA-512=[name={user},password={}]", password(user));
        command.args(["--add-scram", &user]);
    }
    expect(command);
}

/// A key and its certificate for loopback.
fn make_key(dir: &Path) -> PathBuf {
    let key_store = dir.join("key.p12");
    let mut command = keytool(&key_store);
    command.args(["-genkeypair", "-alias", "broker", "-keyalg", "EC", "-groupname", "secp256r1"]);
    command.args(["-dname", "CN=localhost", "-ext", "san=ip:127.0.0.1,dns:localhost", "-validity", "3650"]);
    expect(command);
    key_store
}

/// The certificate alone, as PEM.
fn export(key_store: &Path, dir: &Path) -> PathBuf {
    let mut command = keytool(key_store);
    command.args(["-exportcert", "-rfc", "-alias", "broker", "-file"]).arg(certificate(dir));
    expect(command);
    certificate(dir)
}

fn certificate(dir: &Path) -> PathBuf {
    dir.join("authority.pem")
}

/// Of the Java runtime, which is there where a broker is.
fn keytool(key_store: &Path) -> Command {
    let mut command = bound(Path::new("keytool"));
    command.args(["-J-XX:TieredStopAtLevel=1", "-storetype", "PKCS12", "-storepass", KEY_STORE_PASSWORD, "-keystore"]);
    command.arg(key_store);
    command
}

fn expect(command: Command) {
    let what = format!("{:?}", command.get_args().collect::<Vec<_>>());
    let output = run(command, "");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{stdout}\n{stderr}", output.status);
}
