//! Gzip layers of several members, read to their end or left at the second one.

use std::io::Write as _;

use flate2::Compression as Level;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;
use soci_ztoc::testing::{gzip, plain_archive};
use soci_ztoc::{BuildError, Compression, GzipMembers, Ztoc, ZtocSettings};

use crate::support::{build, settings};

fn build_with(
    members: GzipMembers,
    layer: &[u8],
    piece: impl FnMut() -> usize,
) -> Result<Ztoc, BuildError> {
    let settings = ZtocSettings { members, ..settings(Compression::Gzip, 10_000) };
    build(layer, settings, piece)
}

/// An archive cut into members at these places.
fn in_members(archive: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut begin = 0;
    let ends = cuts.iter().copied().chain([archive.len()]);
    ends.map(|end| gzip(&archive[std::mem::replace(&mut begin, end)..end])).collect()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Level::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_second_member_is_found_where_it_begins_however_the_layer_is_cut(
        seed: u64,
        cuts in proptest::collection::btree_set(0usize..200_000, 0..4),
        sizes in proptest::collection::vec(1usize..30_000, 1..20),
    ) {
        let archive = plain_archive(seed, 200_000);
        let cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut <= archive.len()).collect();
        let members = in_members(&archive, &cuts);
        let layer = members.concat();
        let any = build_with(GzipMembers::Any, &layer, || usize::MAX).unwrap();
        prop_assert_eq!(any.members, members.len() as u64);
        for one_by_one in [true, false] {
            let mut sizes = sizes.iter().copied().cycle();
            let piece = || if one_by_one { 1 } else { sizes.next().unwrap() };
            match build_with(GzipMembers::One, &layer, piece) {
                Ok(one) => {
                    prop_assert_eq!(members.len(), 1);
                    prop_assert_eq!(one.encoded.sha256(), any.encoded.sha256());
                }
                Err(error) => {
                    let offset = members[0].len() as u64;
                    prop_assert!(members.len() > 1);
                    prop_assert_eq!(error, BuildError::SeveralMembers { offset });
                }
            }
        }
    }

    #[test]
    fn what_begins_no_member_is_told_as_bytes_behind_the_last_one(seed: u64, mut behind: Vec<u8>, piece in 1usize..5_000) {
        behind.push(0);
        if let [first, second, ..] = behind[..]
            && (first == 0x1f || (first & 0x0f == 8 && u16::from_be_bytes([first, second]) % 31 == 0))
        {
            behind[0] = 0;
        }
        let first = gzip(&plain_archive(seed, 20_000));
        let offset = first.len() as u64;
        let layer = [first, behind].concat();
        let any = build_with(GzipMembers::Any, &layer, || usize::MAX).unwrap_err();
        let one = build_with(GzipMembers::One, &layer, || piece).unwrap_err();
        prop_assert_eq!(&any, &BuildError::TrailingBytes { offset });
        prop_assert_eq!(one, any);
    }
}

#[test]
fn a_member_counts_though_it_holds_nothing_of_the_archive() {
    let archive = plain_archive(1, 50_000);
    let first = gzip(&archive);
    // The last two say that a member begins, and one of them that nobody can read it.
    for second in
        [gzip(b""), gzip(&[0; 512]), zlib(b""), vec![0x1f, 0x8b], WITH_DICTIONARY.to_vec()]
    {
        let layer = [first.clone(), second].concat();
        let error = build_with(GzipMembers::One, &layer, || 7).unwrap_err();
        assert_eq!(error, BuildError::SeveralMembers { offset: first.len() as u64 });
    }
}

/// The header of a zlib stream with a preset dictionary.
const WITH_DICTIONARY: [u8; 6] = [0x78, 0xbb, 1, 2, 3, 4];

/// The reference reads them once the archive has ended: zlib takes what Go does not look at any more.
#[test]
fn zlib_streams_behind_the_archive_are_members_however_they_are_cut() {
    let members = [
        gzip(&plain_archive(4, 50_000)),
        zlib(b""),
        zlib(b"abc"),
        gzip(b""),
        zlib(&vec![7; 300_000]),
        zlib(b""),
    ];
    let layer = members.concat();
    let whole = build_with(GzipMembers::Any, &layer, || usize::MAX).unwrap();
    assert_eq!(whole.members, members.len() as u64);
    for piece in [1, 2, 3, 7, 64] {
        let pieces = build_with(GzipMembers::Any, &layer, || piece).unwrap();
        assert_eq!(pieces.encoded.sha256(), whole.encoded.sha256(), "{piece}");
    }
    // In front of its end they are none.
    for wrong in [[zlib(b"abc"), members[0].clone()].concat(), WITH_DICTIONARY.to_vec()] {
        let error = build_with(GzipMembers::Any, &wrong, || usize::MAX).unwrap_err();
        assert!(matches!(error, BuildError::Gzip { .. }), "{error}");
    }
    for (behind, reason) in [
        ([zlib(b"abc"), b"x".to_vec()].concat(), None),
        (WITH_DICTIONARY.to_vec(), Some("a preset dictionary is needed")),
        (
            {
                let mut stream = zlib(b"abc");
                *stream.last_mut().unwrap() ^= 1;
                stream
            },
            Some("incorrect data check"),
        ),
    ] {
        for piece in [1, 5, usize::MAX] {
            let layer = [members[0].clone(), behind.clone()].concat();
            let error = build_with(GzipMembers::Any, &layer, || piece).unwrap_err();
            match (&error, reason) {
                (BuildError::TrailingBytes { .. }, None) => {}
                (BuildError::Gzip { reason: found, .. }, Some(reason)) => {
                    assert_eq!(*found, reason);
                }
                _ => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_layer_cut_off_in_its_second_member_is_not_read_that_far() {
    let layer = in_members(&plain_archive(2, 50_000), &[20_000]).concat();
    let cut = &layer[..layer.len() - 1];
    let error = build_with(GzipMembers::One, cut, || usize::MAX).unwrap_err();
    assert!(matches!(error, BuildError::SeveralMembers { .. }));
    let error = build_with(GzipMembers::Any, cut, || usize::MAX).unwrap_err();
    assert!(matches!(error, BuildError::Truncated { .. }));
}

#[test]
fn a_layer_that_is_not_compressed_has_no_members() {
    let archive = plain_archive(3, 50_000);
    let settings =
        ZtocSettings { members: GzipMembers::One, ..settings(Compression::Uncompressed, 10_000) };
    assert_eq!(build(&archive, settings, || 1000).unwrap().members, 0);
}
