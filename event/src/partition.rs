//! The router's rule: a session's events and their retries meet in one partition.

/// `xxh3_64(tenant, 0, session or event_id) % partitions`.
pub fn partition_of(tenant: &str, session_id: Option<&str>, event_id: &[u8; 16], partitions: u32) -> u32 {
    let _ = (tenant, session_id, event_id, partitions);
    unimplemented!()
}
