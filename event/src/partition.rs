//! The router's rule: a session's events and their retries meet in one partition.
use xxhash_rust::xxh3::xxh3_64;

/// `xxh3_64(tenant, 0, session or event_id) % partitions`: the tenant's UTF-8, a zero byte, then the session's UTF-8
/// or, without a session, the 16 bytes of the event id.
///
/// # Panics
/// With no partitions: a log has at least one.
pub fn partition_of(tenant: &str, session_id: Option<&str>, event_id: &[u8; 16], partitions: u32) -> u32 {
    assert!(partitions > 0, "a log has at least one partition");
    let within = session_id.map_or(event_id.as_slice(), str::as_bytes);
    let mut key = Vec::with_capacity(tenant.len() + 1 + within.len());
    key.extend_from_slice(tenant.as_bytes());
    key.push(0);
    key.extend_from_slice(within);
    // Below `partitions`, so it fits.
    (xxh3_64(&key) % u64::from(partitions)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_stays_in_its_partition_whatever_the_event() {
        let first = partition_of("default", Some("s-1"), &[1; 16], 12);
        assert_eq!(partition_of("default", Some("s-1"), &[2; 16], 12), first);
    }

    #[test]
    fn the_rule_is_pinned() {
        // Another result would send a session's retries to another partition than its events.
        // Computed with Python's xxhash: xxh3_64_intdigest(...) % (2**32 - 1) of b"default\0session-1" and of
        // b"default\0" + bytes(range(16)).
        let by_session = partition_of("default", Some("session-1"), &[0; 16], u32::MAX);
        let id = std::array::from_fn(|at| at as u8);
        let by_id = partition_of("default", None, &id, u32::MAX);
        assert_eq!((by_session, by_id), (1086761457, 4185713492));
    }

    #[test]
    fn sessions_and_events_without_one_are_spread() {
        let mut hits = [[0u32; 8]; 2];
        for number in 0..8_000u128 {
            let by_session = partition_of("t", Some(&number.to_string()), &[0; 16], 8);
            let by_id = partition_of("t", None, &number.to_be_bytes(), 8);
            hits[0][by_session as usize] += 1;
            hits[1][by_id as usize] += 1;
        }
        assert!(hits.as_flattened().iter().all(|hits| (800..1_200).contains(hits)), "{hits:?}");
    }
}
