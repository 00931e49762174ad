//! Programs for tests.

/// A program for 64-bit x86 in ELF, of headers and tables alone: with a dynamic linker if `interpreter` is not empty, with
/// these strings, the first of them at offset 1, and these entries of the dynamic table beside those for the strings.
pub fn elf(interpreter: &str, strings: &[&str], entries: &[(u64, u64)]) -> Vec<u8> {
    const HEADERS: u64 = 64 + 3 * 56;
    let zero_ended = |texts: &[&str]| -> Vec<u8> {
        texts.iter().flat_map(|text| [text.as_bytes(), &[0]].concat()).collect()
    };
    let strings = zero_ended(&[&[""], strings].concat());
    let linker = zero_ended(&[interpreter]);
    let strings_at = HEADERS + linker.len() as u64;
    // DT_STRTAB, DT_STRSZ, and the end of the table.
    let of_strings = [(5, strings_at), (10, strings.len() as u64), (0, 0)];
    let entries = entries.iter().chain(&of_strings);
    let dynamic: Vec<u8> =
        entries.flat_map(|(tag, value)| [*tag, *value].map(u64::to_le_bytes).concat()).collect();
    let dynamic_at = strings_at + strings.len() as u64;
    let end = dynamic_at + dynamic.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([3u16, 62].map(u16::to_le_bytes).concat());
    file.extend(1u32.to_le_bytes());
    file.extend([0u64, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 3, 0, 0, 0].map(u16::to_le_bytes).concat());
    // PT_LOAD, PT_INTERP or PT_NULL, PT_DYNAMIC.
    let of_linker = if interpreter.is_empty() { 0u32 } else { 3 };
    for (kind, at, size) in [
        (1, 0, end),
        (of_linker, HEADERS, linker.len() as u64),
        (2, dynamic_at, dynamic.len() as u64),
    ] {
        file.extend([kind, 4].map(u32::to_le_bytes).concat());
        file.extend([at, at, at, size, size, 8].map(u64::to_le_bytes).concat());
    }
    [file, linker, strings, dynamic].concat()
}
