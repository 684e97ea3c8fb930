//! The trait's writer.
use super::{Shared, telemetry};
use crate::{Ack, AppendError, Record};
use async_trait::async_trait;
use std::sync::Arc;

pub(super) struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn try_append(&self, partition: u32, record: &Record) -> Result<u64, AppendError> {
        let partitions = self.shared.options.partitions;
        if partition >= partitions {
            return Err(crate::no_such_partition(partition, partitions));
        }
        crate::within_limit(record)?;
        let sent = self.shared.producer.send(partition, record)?;
        self.shared.producer.delivered(sent).await
    }
}

#[async_trait]
impl crate::Writer for Writer {
    fn partitions(&self) -> u32 {
        self.shared.options.partitions
    }

    fn ack(&self) -> Ack {
        Ack::Kafka
    }

    /// The producer: a process that appends nothing has none, and needs no right to write.
    fn warm_up(&self) {
        self.shared.producer.warm_up();
    }

    async fn append(&self, partition: u32, record: Record) -> Result<u64, AppendError> {
        let appended = self.try_append(partition, &record).await;
        match &appended {
            Err(AppendError::Full(_)) => telemetry::append_error("full"),
            Err(AppendError::Unknown(_)) => telemetry::append_error("unknown"),
            Err(AppendError::TooLarge { .. }) => telemetry::append_error("too_large"),
            Ok(_) | Err(AppendError::Stopped(_)) => {}
        }
        appended
    }
}
