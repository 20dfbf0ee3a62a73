//! Properties of all files: parsing never panics, written files are read back, and rendered files are read back.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use crate::fuzzing::shared_config::{Properties, properties};
use crate::shared_config::render::render;
use crate::shared_config::section::Section;
use crate::shared_config::{FileContent, SharedConfig};

/// The values of all properties by section and name.
type SectionValues = BTreeMap<String, Properties>;

/// The text after the `=` of a property.
#[derive(Clone, Debug)]
enum Written {
    Value(Vec<String>),
    SubProperties(Vec<(String, String)>),
}

#[derive(Clone, Debug)]
struct WrittenFile {
    sections: Vec<(String, Vec<(String, Written)>)>,
    line_end: &'static str,
    around: &'static str,
}

fn parse(config: &[u8], credentials: &[u8]) -> Option<SharedConfig> {
    let config = FileContent { path: Path::new("/config"), bytes: config };
    let credentials = FileContent { path: Path::new("/credentials"), bytes: credentials };
    SharedConfig::parse(Some(config), Some(credentials)).ok()
}

fn sections(files: &SharedConfig) -> SectionValues {
    let sections = [("", &files.profiles), ("sso-session ", &files.sso_sessions), ("services ", &files.services)];
    let named = |word| move |section: &Section| (format!("{word}{}", section.name()), properties(section));
    sections.into_iter().flat_map(|(word, sections)| sections.iter().map(named(word))).collect()
}

impl WrittenFile {
    fn text(&self, header: impl Fn(&str) -> String) -> String {
        let (end, around) = (self.line_end, self.around);
        let mut text = String::new();
        for (section, properties) in &self.sections {
            text.extend([&header(section), end]);
            for (name, written) in properties {
                let (first, below) = match written {
                    Written::Value(lines) => (lines[0].as_str(), lines[1..].to_vec()),
                    Written::SubProperties(all) => {
                        ("", all.iter().map(|(name, value)| format!("{name}{around}={around}{value}")).collect())
                    }
                };
                let around = if first.starts_with(['#', ';']) { "" } else { around };
                text.extend([name, around, "=", around, first, end]);
                for line in below {
                    text.extend(["\t ", &line, around, end]);
                }
            }
        }
        text
    }

    fn add_to(&self, expected: &mut SectionValues) {
        for (section, properties) in &self.sections {
            let section = expected.entry(section.clone()).or_default();
            for (name, written) in properties {
                let value = match written {
                    Written::Value(lines) => (lines.join("\n"), BTreeMap::new()),
                    Written::SubProperties(all) => (String::new(), all.iter().cloned().collect()),
                };
                section.insert(name.clone(), value);
            }
        }
    }
}

/// Makes texts without a comment in them, and without white space of the grammar at both ends.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a".to_owned()),
        "[!-~äß€\u{a0}\u{3000}]([ -~\t\r\0\u{85}ä]{0,24}[!-~\\\\\u{a0}\u{b}])?".prop_map(|value| {
            value.replace(" #", "_#").replace("\t#", "_#").replace(" ;", "_;").replace("\t;", "_;")
        }),
    ]
}

fn property_name() -> impl Strategy<Value = String> {
    const NAMES: &[&str] =
        &["a", "region", "services", "s3", "x:y", "aws_secret_access_key", "aws_session_token", "role_arn"];
    proptest::sample::select(NAMES).prop_map(str::to_owned)
}

fn written() -> impl Strategy<Value = Written> {
    prop_oneof![
        Just(Written::Value(vec![String::new()])),
        proptest::collection::vec(value(), 1..2).prop_map(Written::Value),
        proptest::collection::vec(value(), 1..4).prop_map(|mut lines| {
            // A line that begins with these characters is a comment, but not after the `=`.
            lines[1..].iter_mut().for_each(|line| *line = line.replacen(['#', ';'], "_", 1));
            Written::Value(lines)
        }),
        proptest::collection::vec((property_name(), value()), 1..4).prop_map(Written::SubProperties),
    ]
}

fn file(sections: &'static [&'static str]) -> impl Strategy<Value = WrittenFile> {
    let section = proptest::sample::select(sections).prop_map(str::to_owned);
    let section = (section, proptest::collection::vec((property_name(), written()), 0..6));
    (
        proptest::collection::vec(section, 0..6),
        proptest::sample::select(&["\n", "\r\n", "\n\n", "\n# x\n"][..]),
        proptest::sample::select(&["", " ", "\t "][..]),
    )
        .prop_map(|(sections, line_end, around)| WrittenFile { sections, line_end, around })
}

fn config_header(section: &str) -> String {
    match section {
        "default" => "[default]".to_owned(),
        section if section.contains(' ') => format!("[{section}]"),
        section => format!("[profile {section}]"),
    }
}

fn is_about_credentials(name: &str) -> bool {
    name.starts_with("aws_") || name == "role_arn"
}

/// Returns true if other parsers read the same name and value.
fn is_read_alike(name: &str, (value, sub_properties): &(String, BTreeMap<String, String>)) -> bool {
    let is_odd = |c: char| c.is_control() || "\u{2028}\u{2029}".contains(c);
    let below = sub_properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    below.chain([(name, value.as_str())]).all(|(name, value)| {
        let before_comments = value.split(['#', ';']).rev().skip(1);
        !name.contains(':')
            && value == value.trim()
            && !value.contains(is_odd)
            && !before_comments.into_iter().any(|text| text.ends_with(char::is_whitespace))
    })
}

/// Renders each profile, parses the text, and compares.
fn check_rendered(files: &SharedConfig) {
    for name in files.profiles() {
        let profile = files.profile(name).unwrap();
        let text = render(files, Some(profile), None, &|_| Ok(())).config;
        let again = parse(text.as_bytes(), b"").unwrap();
        assert_eq!(again.warnings(), [], "{:?}", *text);
        let settings = |section: &Section| {
            let mut all = properties(section);
            all.retain(|name, written| !is_about_credentials(name) && is_read_alike(name, written));
            for (_, sub_properties) in all.values_mut() {
                sub_properties.retain(|name, _| !is_about_credentials(name));
            }
            all
        };
        let default = again.profile("default").unwrap();
        assert_eq!(properties(default), settings(profile), "{:?}", *text);
        assert_eq!(again.profiles().count(), 1);
        let services = profile.get("services").and_then(|services| files.services(services.value()));
        assert_eq!(again.services.first().map(Section::name), services.map(Section::name));
        assert_eq!(again.services.len(), usize::from(services.is_some()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_written_files_back(
        config in file(&["default", "a", "b/c:d", "services a", "services b", "sso-session a"]),
        credentials in file(&["default", "a", "B"]),
    ) {
        let mut expected = SectionValues::new();
        config.add_to(&mut expected);
        credentials.add_to(&mut expected);
        let config = config.text(config_header);
        let credentials = credentials.text(|section| format!("[{section}]"));
        let files = parse(config.as_bytes(), credentials.as_bytes()).unwrap();
        prop_assert_eq!(sections(&files), expected);
        check_rendered(&files);
    }

    #[test]
    fn parses_any_bytes_without_panic(config: Vec<u8>, credentials: Vec<u8>) {
        parse(&config, &credentials);
    }

    #[test]
    fn renders_and_reads_back_random_lines(
        lines in proptest::collection::vec(
            "\\[profile a\\]|\\[default\\]|\\[services a\\]|services=a|[ \t]?[ab:\\\\\"# ]{0,3}= ?[a;#=\\\\\r\t\u{0} :\\[\\]]{0,6}|.?",
            0..12,
        ),
    ) {
        let text = format!("[profile a]\n{}", lines.join("\n"));
        if let Some(files) = parse(text.as_bytes(), b"") {
            check_rendered(&files);
        }
    }
}
