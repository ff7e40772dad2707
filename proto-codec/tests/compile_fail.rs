//! What the derives refuse, and with which words. `TRYBUILD=overwrite` rewrites the words on purpose.

#[test]
fn mistakes_in_a_definition_do_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
