//! The encoder against the flatbuffers crate, an independent writer of the same format.

use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, WIPOffset};
use proptest::prelude::*;
use soci_ztoc::testing::random_layer;
use soci_ztoc::{Compression, Reader};

use crate::support::{build, open, settings};

/// A field's slot: two for the vtable's own sizes, then one for each field.
const fn slot(field: u16) -> u16 {
    4 + 2 * field
}

/// Writes what `reader` holds, call by call as the reference does.
fn encode(reader: &Reader<Vec<u8>>, checkpoints: &[u8]) -> Vec<u8> {
    let mut fbb = FlatBufferBuilder::new();
    let version = fbb.create_string("0.9");
    let tool = fbb.create_string(reader.build_tool_identifier());
    let mut files = Vec::new();
    for index in (0..reader.entry_count()).rev() {
        let entry = reader.entry(index).unwrap();
        let strings = [
            entry.name,
            entry.kind.as_str().as_bytes(),
            entry.linkname,
            entry.uname,
            entry.gname,
            entry.mod_time,
        ]
        .map(|text| string(&mut fbb, text));
        let records: Vec<_> = entry
            .pax_records()
            .map(|(key, value)| {
                let (key, value) = (string(&mut fbb, key), string(&mut fbb, value));
                let table = fbb.start_table();
                fbb.push_slot_always(slot(0), key);
                fbb.push_slot_always(slot(1), value);
                fbb.end_table(table)
            })
            .collect();
        let records = fbb.create_vector(&records);
        let table = fbb.start_table();
        fbb.push_slot_always(slot(0), strings[0]);
        fbb.push_slot_always(slot(1), strings[1]);
        fbb.push_slot(slot(2), entry.offset, 0);
        fbb.push_slot(slot(3), entry.size, 0);
        fbb.push_slot_always(slot(4), strings[2]);
        fbb.push_slot(slot(5), entry.mode, 0);
        fbb.push_slot(slot(6), entry.uid, 0);
        fbb.push_slot(slot(7), entry.gid, 0);
        fbb.push_slot_always(slot(8), strings[3]);
        fbb.push_slot_always(slot(9), strings[4]);
        fbb.push_slot_always(slot(10), strings[5]);
        fbb.push_slot(slot(11), entry.devmajor, 0);
        fbb.push_slot(slot(12), entry.devminor, 0);
        fbb.push_slot_always(slot(13), records);
        files.push(fbb.end_table(table));
    }
    files.reverse();
    let files = fbb.create_vector(&files);
    let table = fbb.start_table();
    fbb.push_slot_always(slot(0), files);
    let toc = fbb.end_table(table);

    let checkpoints = fbb.create_vector(checkpoints);
    let digests: Vec<_> = reader
        .spans()
        .map(|span| fbb.create_string(&format!("sha256:{}", hex::encode(span.sha256))))
        .collect();
    let digests: WIPOffset<flatbuffers::Vector<'_, ForwardsUOffset<&str>>> =
        fbb.create_vector(&digests);
    let table = fbb.start_table();
    fbb.push_slot(slot(1), reader.span_count() as i32 - 1, 0);
    fbb.push_slot_always(slot(2), digests);
    fbb.push_slot_always(slot(3), checkpoints);
    let algorithm: i8 = if reader.compression() == Compression::Gzip { 1 } else { 2 };
    fbb.push_slot(slot(0), algorithm, 1);
    let info = fbb.end_table(table);

    let table = fbb.start_table();
    fbb.push_slot_always(slot(0), version);
    fbb.push_slot_always(slot(1), tool);
    fbb.push_slot_always(slot(4), toc);
    fbb.push_slot(slot(2), reader.compressed_size(), 0);
    fbb.push_slot(slot(3), reader.uncompressed_size(), 0);
    fbb.push_slot_always(slot(5), info);
    let root = fbb.end_table(table);
    fbb.finish_minimal(root);
    fbb.finished_data().to_vec()
}

/// Strings of a ztoc need not be UTF-8; the crate's strings are byte strings underneath.
fn string<'a>(fbb: &mut FlatBufferBuilder<'a>, text: &[u8]) -> WIPOffset<&'a [u8]> {
    fbb.create_byte_string(text)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_encoder_writes_what_the_flatbuffers_crate_writes(seed: u64) {
        let layer = random_layer(seed);
        let settings = settings(layer.compression, layer.span_size);
        let bytes = build(&layer.bytes, settings, || 9999).unwrap().encoded.to_vec();
        let reader = open(bytes.clone());
        let place = soci_ztoc::ZtocHead::read(&bytes).unwrap().span_size_range().start as usize;
        let length = u32::from_le_bytes(bytes[place - 4..place].try_into().unwrap()) as usize;
        let expected = encode(&reader, &bytes[place..place + length]);
        prop_assert!(bytes == expected, "{} and {} bytes", bytes.len(), expected.len());
    }
}
