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

#[test]
fn the_documentation_has_the_rule_for_memory_as_it_is() {
    let text = include_str!("../../../docs/CONFIGURATION.md");
    let mib = |bytes: u64| bytes >> 20;
    let (without, least) = (mib(soci_config::WITHOUT_IMAGES), mib(soci_config::LEAST_BUDGET));
    let rule = format!("MEMORY_BUDGET = 3/5 x (memory - {without} MiB), and at least {least} MiB");
    assert!(text.contains(&rule), "{rule}");
    for memory in [256 << 20, 1 << 30, 4 << 30, 1 << 40] {
        let budget = (memory - soci_config::WITHOUT_IMAGES) / 5 * 3;
        assert_eq!(soci_config::default_budget(memory), budget.max(soci_config::LEAST_BUDGET));
    }
}
