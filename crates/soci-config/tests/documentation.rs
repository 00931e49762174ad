//! `docs/CONFIGURATION.md` is what the table says.

/// Regenerate the table with `UPDATE_DOCS=1 cargo test -p soci-config`.
#[test]
fn the_documentation_has_the_table_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIGURATION.md");
    let (begin, end) = ("<!-- variables -->\n", "<!-- end of variables -->");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once(begin).expect("the beginning of the table is marked");
    let (table, tail) = rest.split_once(end).expect("the end of the table is marked");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{head}{begin}{}{end}{tail}", soci_config::markdown());
        std::fs::write(path, text).unwrap();
        return;
    }
    assert_eq!(table, soci_config::markdown(), "run UPDATE_DOCS=1 cargo test -p soci-config");
}
