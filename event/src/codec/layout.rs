//! Which node and which buffers belong to which column of a batch.
//!
//! A batch message has two flat lists; the schema says how to read them, depth first. Arrow panics where a column has
//! nulls but no bits that say which, and where a buffer ends within a value, so both are looked at here.
use crate::limits;
use arrow_ipc::FieldNode;
use arrow_schema::{DataType, Schema};

/// One string view.
const VIEW_BYTES: usize = 16;

/// The lists of one batch, read in the order of the schema.
struct Layout<'a> {
    nodes: std::slice::Iter<'a, FieldNode>,
    buffers: std::slice::Iter<'a, arrow_ipc::Buffer>,
    /// Buffers of each column of views beside its two.
    variadic: std::slice::Iter<'a, i64>,
}

/// Checks that the lists are those of `schema`, and that each node's numbers fit one another and its buffers. Lengths
/// that Arrow multiplies by widths are bounded here: no product of them overflows.
pub(super) fn check(
    schema: &Schema,
    nodes: &[FieldNode],
    buffers: &[arrow_ipc::Buffer],
    variadic: &[i64],
) -> Result<(), String> {
    let mut layout = Layout { nodes: nodes.iter(), buffers: buffers.iter(), variadic: variadic.iter() };
    for field in schema.fields() {
        layout.check_array(field.data_type()).map_err(|reason| format!("column {}: {reason}", field.name()))?;
    }
    if layout.nodes.next().is_some() || layout.buffers.next().is_some() || layout.variadic.next().is_some() {
        return Err("Arrow batch has more nodes or buffers than its schema".to_owned());
    }
    Ok(())
}

impl Layout<'_> {
    fn check_array(&mut self, data_type: &DataType) -> Result<(), String> {
        let node = self.nodes.next().ok_or("its node is missing")?;
        let (length, nulls) = (node.length(), node.null_count());
        if !(0..=length).contains(&nulls) || length > limits::DECODED_BYTES_MAX as i64 {
            return Err(format!("it has {length} values, {nulls} of them null"));
        }
        let validity = self.buffers.next().ok_or("its validity is missing")?;
        if nulls > 0 && validity.length().saturating_mul(8) < length {
            return Err(format!("its validity has {} bytes for {length} values", validity.length()));
        }
        match data_type {
            DataType::Utf8 => self.check_buffers(&[4, 1])?,
            DataType::LargeUtf8 => self.check_buffers(&[8, 1])?,
            DataType::Utf8View => self.check_view_buffers()?,
            DataType::Map(_, _) => self.check_buffers(&[4])?,
            DataType::Struct(_) => {}
            DataType::Dictionary(keys, _) => self.check_buffers(&[keys.primitive_width().unwrap_or(1)])?,
            plain => self.check_buffers(&[plain.primitive_width().unwrap_or(1)])?,
        }
        match data_type {
            DataType::Map(entries, _) => self.check_array(entries.data_type()),
            DataType::Struct(fields) => fields.iter().try_for_each(|field| self.check_array(field.data_type())),
            _ => Ok(()),
        }
    }

    /// The buffers beside the validity hold whole values of these widths, bytes.
    fn check_buffers(&mut self, widths: &[usize]) -> Result<(), String> {
        for width in widths {
            let buffer = self.buffers.next().ok_or("a buffer is missing")?;
            if buffer.length() % *width as i64 != 0 {
                return Err(format!("a buffer of {} bytes holds no whole values of {width}", buffer.length()));
            }
        }
        Ok(())
    }

    /// Views have as many buffers of strings as their count says.
    fn check_view_buffers(&mut self) -> Result<(), String> {
        self.check_buffers(&[VIEW_BYTES])?;
        let count = *self.variadic.next().ok_or("its count of view buffers is missing")?;
        let count = usize::try_from(count).ok().filter(|count| *count <= self.buffers.len());
        for _ in 0..count.ok_or("its count of view buffers is not that of its buffers")? {
            self.check_buffers(&[1])?;
        }
        Ok(())
    }
}
