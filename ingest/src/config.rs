//! Settings `[ingest]`, and what of them can't work.
use crate::limits::{DRAIN_TIMEOUT_MS_MAX, RATIO_FREE_BYTES};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Settings `[ingest]`. Bounds that are not settings, and the sum of all: [`crate::limits`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the event edge.
    pub listen: SocketAddr,
    /// Listen beyond loopback without write keys.
    pub allow_anonymous: bool,
    /// Largest body, as sent and after decompression. 4 MiB: a thousand events of 4 KiB, four log records.
    pub body_bytes_max: usize,
    /// All bodies and decoded events held at once. 256 MiB: 64 of the largest bodies, or 100,000 usual requests.
    pub bodies_bytes_max: usize,
    /// Most events in one body.
    pub events_max: usize,
    /// Largest ratio of decompressed to compressed bytes; telemetry reaches 10 to 40, bombs 1,000 and more.
    pub decompression_ratio_max: usize,
    /// Most connections open at once; one more is answered 503 and closed. Each is a file descriptor.
    pub connections_max: usize,
    /// A request's headers must be there within this after their first byte.
    pub header_timeout_ms: u64,
    /// A request's body must be there within this.
    pub body_timeout_ms: u64,
    /// A connection without a request is closed after this. 75 s: longer than the idle time of usual load balancers,
    /// so that they close first and never send a request into a closing connection.
    pub idle_timeout_ms: u64,
    /// How long a request waits for its batch to be durable before it gets 503.
    pub append_timeout_ms: u64,
    /// Wait at least this long for a batch to fill; 0: batches clock themselves.
    pub linger_ms: u64,
    /// Where this node would append twice as many records a second and more, their batches wait for more events, so that
    /// it appends about so many; none waits over 100 ms or half of `append_timeout_ms`, or for more than 256 events. 0: none
    /// ever waits.
    pub appends_per_s: u32,
    /// At shutdown: how long requests under way may take to be answered, before their connections are cut. At most
    /// 12 s, since the last appends come after it, and a node's stop has an end.
    pub drain_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allow_anonymous: false,
            body_bytes_max: 4 << 20,
            bodies_bytes_max: 256 << 20,
            events_max: 10_000,
            decompression_ratio_max: 100,
            connections_max: 10_000,
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 75_000,
            append_timeout_ms: 10_000,
            linger_ms: 0,
            appends_per_s: 1_000,
            drain_timeout_ms: 12_000,
        }
    }
}

impl Config {
    /// What can't work with these settings on a listener at `address`, in words.
    pub fn check(&self, address: SocketAddr) -> Result<(), String> {
        if !address.ip().is_loopback() && !self.allow_anonymous {
            return Err(format!(
                "ingest.listen is {address}, beyond this machine, and there are no write keys: anybody could post \
                 events. Listen on 127.0.0.1, or set ingest.allow_anonymous = true"
            ));
        }
        let positive = [
            ("body_bytes_max", self.body_bytes_max as u64),
            ("events_max", self.events_max as u64),
            ("decompression_ratio_max", self.decompression_ratio_max as u64),
            ("connections_max", self.connections_max as u64),
            ("header_timeout_ms", self.header_timeout_ms),
            ("body_timeout_ms", self.body_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("append_timeout_ms", self.append_timeout_ms),
            ("drain_timeout_ms", self.drain_timeout_ms),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("ingest.{name} is 0: nothing could be taken in; it must be at least 1"));
        }
        // Body as sent, body inflated, and its events, with the slack of growing buffers.
        let least = self.body_bytes_max.max(RATIO_FREE_BYTES).saturating_mul(4);
        if self.bodies_bytes_max < least {
            return Err(format!(
                "ingest.bodies_bytes_max is {}: one largest body needs up to {least} (4 x ingest.body_bytes_max)",
                self.bodies_bytes_max
            ));
        }
        if self.drain_timeout_ms > DRAIN_TIMEOUT_MS_MAX {
            return Err(format!(
                "ingest.drain_timeout_ms is {}: the node would stop waiting before the last events are appended; it \
                 must be at most {DRAIN_TIMEOUT_MS_MAX}",
                self.drain_timeout_ms
            ));
        }
        if self.linger_ms >= self.append_timeout_ms {
            return Err(format!(
                "ingest.linger_ms ({}) must be below ingest.append_timeout_ms ({}): every request would time out",
                self.linger_ms, self.append_timeout_ms
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_on_loopback_and_are_refused_beyond_it() {
        let mut config = Config::default();
        let beyond = SocketAddr::from(([0, 0, 0, 0], 8080));
        assert_eq!(config.check(config.listen), Ok(()));
        assert!(config.check(beyond).unwrap_err().contains("allow_anonymous"));
        config.allow_anonymous = true;
        assert_eq!(config.check(beyond), Ok(()));
    }

    #[test]
    fn what_can_not_work_is_named() {
        let address = Config::default().listen;
        let refused = |config: Config| config.check(address).unwrap_err();
        assert!(refused(Config { events_max: 0, ..Config::default() }).contains("ingest.events_max"));
        assert!(refused(Config { bodies_bytes_max: 1 << 20, ..Config::default() }).contains("bodies_bytes_max"));
        assert!(refused(Config { linger_ms: 10_000, ..Config::default() }).contains("linger_ms"));
        assert!(refused(Config { drain_timeout_ms: 12_001, ..Config::default() }).contains("drain_timeout_ms"));
    }

    #[test]
    fn the_longest_stop_ends_before_the_node_stops_waiting_for_it() {
        use crate::limits::{ACCEPT_PAUSE, CUT_TIME_MAX, LAST_APPENDS_TIME_MIN};
        let drained = std::time::Duration::from_millis(DRAIN_TIMEOUT_MS_MAX);
        let longest = ACCEPT_PAUSE + drained + CUT_TIME_MAX + LAST_APPENDS_TIME_MIN + CUT_TIME_MAX;
        assert!(longest < std::time::Duration::from_secs(14), "{longest:?}");
        assert!(Config::default().drain_timeout_ms <= DRAIN_TIMEOUT_MS_MAX);
    }
}
