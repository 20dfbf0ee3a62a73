//! The files for the child of `exec`, read by configparser as botocore reads them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::shared_config::render::{BesideProfiles, render};
use crate::shared_config::section::{Property, Section};
use crate::shared_config::{FileContent, SharedConfig, SharedFile};

/// Reads a JSON list of texts, and prints the sections of each: `raw_config_parse` and `_parse_nested` of
/// botocore.configloader. botocore opens files in text mode, so that Python translates line ends.
const BOTOCORE: &str = r#"
import configparser, io, json, sys

def nested(value):
    pairs = (line.strip().split("=", 1) for line in value.splitlines() if line.strip())
    return {name.strip(): value.strip() for name, value in pairs}

def sections(text):
    parser = configparser.RawConfigParser()
    parser.read_file(io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8"))
    options = lambda section: ((name, parser.get(section, name)) for name in parser.options(section))
    return {
        section: {name: nested(value) if value.startswith("\n") else value for name, value in options(section)}
        for section in parser.sections()
    }

json.dump([sections(text) for text in json.load(sys.stdin)], sys.stdout)
"#;

/// The number of random pairs of files. Python reads their texts in about a second.
const CASES: usize = 1000;

fn line() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "region",
        "retry_mode",
        "cli_pager",
        "credential_process",
        "endpoint_url:http",
        "aws_access_key_id",
        "role_arn",
        "source_profile",
        "services",
        "s3",
        "a%b",
        "DEFAULT",
        "x:y",
    ];
    const VALUES: &[&str] = &[
        "standard",
        "default",
        "v",
        "standard\rcredential_process = /x",
        "a\n  b",
        "\n  a = b\n  c:d = e",
        "#a",
        "a:b = c",
    ];
    let value = prop_oneof![
        2 => proptest::sample::select(VALUES).prop_map(str::to_owned),
        1 => "[ -~\t\r\u{0}\u{b}\u{c}\u{1c}-\u{1e}\u{7f}\u{85}\u{a0}\u{2028}\u{2029}\u{3000}é#;:=\\[\\]]{0,12}",
        1 => "\n [a-c:]{1,2} ?= ?[ -~\r\u{1c}\u{85}\u{2028}]{0,6}",
    ];
    let property = (proptest::sample::select(NAMES), value).prop_map(|(name, value)| format!("{name} = {value}"));
    let header = proptest::sample::select(
        &["[default]", "[profile p]", "[p]", "[profile DEFAULT]", "[DEFAULT]", "[sso-session w]", "[services v]"][..],
    );
    prop_oneof![8 => property, 1 => header.prop_map(str::to_owned)]
}

fn parse<'a>(config: &'a str, credentials: &'a str) -> Option<SharedConfig> {
    let content = |path, text: &'a str| FileContent { path: Path::new(path), bytes: text.as_bytes() };
    SharedConfig::parse(Some(content("/config", config)), Some(content("/credentials", credentials))).ok()
}

/// Returns what our parser reads in one text, in the form of [`BOTOCORE`].
fn sections(text: &str, file: SharedFile) -> Value {
    let files = match file {
        SharedFile::Config => parse(text, ""),
        SharedFile::Credentials => parse("", text),
    };
    let files = files.unwrap_or_else(|| panic!("{text:?}"));
    assert_eq!(files.warnings(), [], "{text:?}");
    let header = |word: &str, name: &str| match (file, word, name) {
        (SharedFile::Credentials, ..) | (_, "profile", "default") => name.to_owned(),
        _ => format!("{word} {name}"),
    };
    let value = |property: &Property| match property.sub_properties().next() {
        None => json!(property.value()),
        Some(_) => property.sub_properties().map(|(name, below)| (name, below.value())).collect(),
    };
    let all = [("profile", &files.profiles), ("sso-session", &files.sso_sessions), ("services", &files.services)];
    let all = all.into_iter().flat_map(|(word, sections)| sections.iter().map(move |section| (word, section)));
    let values = |section: &Section| -> BTreeMap<String, Value> {
        section.properties().map(|(name, property)| (name.to_owned(), value(property))).collect()
    };
    json!(all.map(|(word, section)| (header(word, section.name()), values(section))).collect::<BTreeMap<_, _>>())
}

#[test]
fn configparser_reads_what_was_written() {
    let python = Command::new("python3").args(["-c", BOTOCORE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = python else {
        testkit::harness::skip("python3 is not installed, whose configparser reads the files of exec");
        return;
    };
    let lines = || proptest::collection::vec(line(), 0..16).prop_map(|lines| lines.join("\n"));
    let files = (lines(), lines(), any::<[bool; 3]>());
    let mut runner = TestRunner::deterministic();
    let (mut texts, mut expected, mut kept) = (Vec::new(), Vec::new(), 0);
    for _ in 0..CASES {
        let (config, credentials, [trusts_config, trusts_credentials, keeps]) =
            files.new_tree(&mut runner).unwrap().current();
        let Some(read) = parse(&format!("[profile p]\n{config}"), &format!("[p]\n{credentials}")) else { continue };
        let written =
            render(&read, read.profile("p"), keeps.then(BesideProfiles::default), &|property| match property.file() {
                SharedFile::Config if trusts_config => Ok(()),
                SharedFile::Credentials if trusts_credentials => Ok(()),
                _ => Err("is foreign".into()),
            });
        for (text, file) in [(&written.config, SharedFile::Config), (&written.credentials, SharedFile::Credentials)] {
            kept += text.matches('=').count();
            expected.push(sections(text, file));
            texts.push(text.to_string());
        }
    }
    assert!(texts.len() > CASES && kept > CASES / 2, "{} texts with {kept} settings", texts.len());
    python.stdin.take().unwrap().write_all(&serde_json::to_vec(&texts).unwrap()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "configparser refuses a text");
    let read: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    for (text, (read, expected)) in texts.iter().zip(read.into_iter().zip(expected)) {
        assert_eq!(read, expected, "{text:?}");
    }
}
