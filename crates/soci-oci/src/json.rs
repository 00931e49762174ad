//! JSON exactly as Go's `encoding/json` reads and writes it, as far as OCI documents need it.
//!
//! The converted image holds manifests that were read and written again. Their digests are part of
//! its own, so they must have the bytes that soci-snapshotter, a Go program, would give them; and
//! containerd and soci-snapshotter must find in a document what was found here. Other readers agree
//! on tidy documents only. So reading follows Go where they differ: keys match regardless of case, a repeated key decodes over the
//! value that is already there, `null` leaves scalars alone, broken UTF-8 and lone surrogates
//! become U+FFFD, and unknown keys are dropped.
//!
//! A text is checked as a whole first, without recursion; decoding then walks the checked text in
//! place, so nesting costs no stack and unknown values cost no memory.

mod decode;
mod encode;
mod syntax;
mod value;

pub use decode::MAX_ELEMENTS;
pub use syntax::{JsonError, MAX_DEPTH};

pub(crate) use decode::{Bytes, FieldError, Problem, Slot, Slots, members};
pub(crate) use encode::{Object, write_array, write_string};
pub(crate) use value::Value;
