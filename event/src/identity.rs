//! Identity: where an event's id comes from. The dedup key is (tenant, event_id), everywhere.
