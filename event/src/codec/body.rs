//! The body of an Arrow message: arrays to nodes and buffers, as the columnar format lays them out
//! (arrow.apache.org/docs/format/Columnar.html, "RecordBatch message").
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrowPrimitiveType, DictionaryArray, MapArray, StringArray};
use arrow_buffer::{BooleanBuffer, NullBuffer, ToByteSlice};
use arrow_ipc::FieldNode;
use arrow_schema::{DataType, TimeUnit};
use std::borrow::Cow;
use std::io::{self, Write};

/// Buffers begin at multiples of this; 64 would cost a small record more than its values.
pub(super) const ALIGNMENT_BYTES: usize = 8;
const PADDING: [u8; ALIGNMENT_BYTES] = [0; ALIGNMENT_BYTES];

/// Bytes that follow so many, up to the next multiple of the alignment.
pub(super) const fn padding(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT_BYTES) - bytes
}

/// Arrays of one message, in the order of their columns, depth first.
#[derive(Default)]
pub(super) struct Body<'a> {
    pub(super) nodes: Vec<FieldNode>,
    /// Where in the body each buffer is.
    pub(super) buffers: Vec<arrow_ipc::Buffer>,
    /// The buffers, without their padding.
    contents: Vec<Cow<'a, [u8]>>,
    /// Bytes of the buffers, each with its padding.
    pub(super) bytes: usize,
}

impl<'a> Body<'a> {
    /// Writes the buffers.
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        for content in &self.contents {
            to.write_all(content)?;
            to.write_all(&PADDING[..padding(content.len())])?;
        }
        Ok(())
    }

    /// Adds an array; `Err`: its type is none of the canonical schema's.
    pub(super) fn add(&mut self, array: &'a dyn Array) -> Result<(), String> {
        self.add_node(array.len(), array.nulls());
        match array.data_type() {
            DataType::Utf8 => self.add_strings(array.as_string()),
            DataType::Dictionary(keys, _) if **keys == DataType::Int32 => {
                self.add_buffer(array.as_dictionary::<Int32Type>().keys().values().inner().as_slice());
            }
            DataType::Int16 => self.add_values::<Int16Type>(array),
            DataType::Int32 => self.add_values::<Int32Type>(array),
            DataType::Int64 => self.add_values::<Int64Type>(array),
            DataType::Float32 => self.add_values::<Float32Type>(array),
            DataType::Timestamp(TimeUnit::Microsecond, _) => self.add_values::<TimestampMicrosecondType>(array),
            DataType::Boolean => self.add_bits(array.as_boolean().values()),
            DataType::FixedSizeBinary(_) => self.add_buffer(array.as_fixed_size_binary().value_data()),
            DataType::Map(..) => self.add_map(array.as_map())?,
            other => return Err(format!("type {other} is none of the schema's")),
        }
        Ok(())
    }

    /// Adds a dictionary's strings as they stand in the rows, without the dictionary. Its values have no nulls.
    pub(super) fn add_unfolded(&mut self, dictionary: &'a DictionaryArray<Int32Type>, values: &StringArray) {
        self.add_node(dictionary.len(), dictionary.nulls());
        let mut strings = Vec::new();
        let mut offsets = Vec::with_capacity(dictionary.len() + 1);
        offsets.push(0);
        for key in dictionary.keys() {
            if let Some(key) = key {
                strings.extend_from_slice(values.value(key as usize).as_bytes());
            }
            offsets.push(strings.len() as i32);
        }
        self.add_buffer(offsets.to_byte_slice().to_vec());
        self.add_buffer(strings);
    }

    /// A node and its validity: no bits where nothing is null.
    fn add_node(&mut self, length: usize, nulls: Option<&'a NullBuffer>) {
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        self.nodes.push(FieldNode::new(length as i64, nulls.map_or(0, |nulls| nulls.null_count() as i64)));
        match nulls {
            Some(nulls) => self.add_bits(nulls.inner()),
            None => self.add_buffer([].as_slice()),
        }
    }

    fn add_buffer(&mut self, content: impl Into<Cow<'a, [u8]>>) {
        let content = content.into();
        self.buffers.push(arrow_ipc::Buffer::new(self.bytes as i64, content.len() as i64));
        self.bytes += content.len() + padding(content.len());
        self.contents.push(content);
    }

    /// Bits from the first on, which need not be the first of their byte.
    fn add_bits(&mut self, bits: &'a BooleanBuffer) {
        match bits.offset() {
            0 => self.add_buffer(&bits.values()[..bits.len().div_ceil(8)]),
            _ => self.add_buffer(bits.sliced().to_vec()),
        }
    }

    fn add_values<T: ArrowPrimitiveType>(&mut self, array: &'a dyn Array) {
        self.add_buffer(array.as_primitive::<T>().values().inner().as_slice());
    }

    fn add_strings(&mut self, strings: &'a StringArray) {
        let (first, last) = self.add_offsets(strings.value_offsets());
        self.add_buffer(&strings.value_data()[first..last]);
    }

    fn add_map(&mut self, map: &'a MapArray) -> Result<(), String> {
        if map.offsets()[0] != 0 || map.offsets()[map.len()] as usize != map.entries().len() {
            return Err("a map that is a slice of another is not supported".to_owned());
        }
        self.add_offsets(map.value_offsets());
        self.add_node(map.entries().len(), map.entries().nulls());
        map.entries().columns().iter().try_for_each(|column| self.add(column))
    }

    /// Adds offsets so that they begin at 0; gives the range of the values that they are of.
    fn add_offsets(&mut self, offsets: &'a [i32]) -> (usize, usize) {
        let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
        if first == 0 {
            self.add_buffer(offsets.to_byte_slice());
        } else {
            let moved: Vec<i32> = offsets.iter().map(|offset| offset - first).collect();
            self.add_buffer(moved.to_byte_slice().to_vec());
        }
        (first as usize, last as usize)
    }
}
