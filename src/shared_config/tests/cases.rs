//! The grammar, rule by rule: the sections of two files, or the first error in them.

use std::fmt::Write;
use std::path::Path;

use crate::shared_config::error::{IgnoredItem, ParseError};
use crate::shared_config::section::Property;
use crate::shared_config::{FileContent, SharedConfig, SharedFile};

/// Name, config file, credentials file, and the lines that [`parsed`] prints.
type GrammarCase = (&'static str, &'static str, &'static str, &'static str);

/// The rules of the grammar: below each, the cases within the rule, then those just beyond it.
const CASES: &[GrammarCase] = &[
    // Config sections.
    ("default", "[default]\na=b", "", "default.a=b @c2"),
    ("profile", "[profile x]\na=b", "", "x.a=b @c2"),
    ("a profile without properties", "[profile x]", "", "x"),
    ("sso-session", "[sso-session x]\na=b", "", "sso-session x.a=b @c2"),
    ("services", "[services x]\na=\n b=c", "", "services x.a= @c2\nservices x.a.b=c @3"),
    (
        "one name in three kinds of sections",
        "[services x]\na=1\n[sso-session x]\na=2\n[profile x]\na=3",
        "",
        "x.a=3 @c6\nsso-session x.a=2 @c4\nservices x.a=1 @c2",
    ),
    // Config sections: beyond it.
    ("a bare name", "[x]\na=b", "", "! c1 OtherSection x"),
    ("sections of the AWS CLI", "[plugins]\na=b\n[preview]\n", "", ""),
    ("another word", "[plugins x]\na=b", "", "! c1 OtherSection plugins x"),
    ("a word alone", "[profile]\na=b", "", "! c1 OtherSection profile"),
    ("upper case", "[Default]\n[PROFILE x]", "", "! c1 OtherSection Default\n! c2 OtherSection PROFILE x"),
    ("an ignored section ends", "[x]\na=b\n[default]\na=c", "", "default.a=c @c4\n! c1 OtherSection x"),
    ("ignored lines are read too", "[x]\na=b\n c\n\nd=\n e=f\n in valid=g\nin valid=h\n i\nj", "", "c10: Equals"),
    // Credentials sections.
    ("a bare name", "", "[x]\na=b", "x.a=b @k2"),
    ("default", "", "[default]\na=b", "default.a=b @k2"),
    ("a word is a name", "", "[profile]\n[services]", "profile\nservices"),
    // Credentials sections: beyond it.
    ("profile", "", "[profile x]\na=b", "! k1 Prefixed profile x"),
    ("profile default", "", "[profile default]\na=b", "! k1 Prefixed profile default"),
    ("sso-session", "", "[sso-session x]\na=b", "! k1 SectionName sso-session x"),
    // Default profile.
    ("profile default later", "[default]\na=1\nb=1\n[profile default]\na=2", "", "default.a=2 @c5\n! c1 Default"),
    ("profile default first", "[profile default]\na=2\n[default]\na=1\nb=1", "", "default.a=2 @c2\n! c3 Default"),
    ("an empty one beats too", "[default]\na=1\n[profile default]", "", "default\n! c1 Default"),
    // Default profile: beyond it.
    ("not between the files", "[profile default]\na=1\nb=1", "[default]\na=2", "default.a=2 @k2\ndefault.b=1 @c3"),
    (
        "not for other sections",
        "[default]\na=1\n[services default]\na=2",
        "",
        "default.a=1 @c2\nservices default.a=2 @c4",
    ),
    // White space in headers.
    ("around names", "[\t default \t]\n[ profile x ]", "[ \tx\t ]", "default\nx"),
    ("behind the word", "[profile \t x]\n[sso-session\ty]", "", "x\nsso-session y"),
    // White space in headers: beyond it.
    ("none behind the word", "[profilex]", "[profilex]", "profilex\n! c1 OtherSection profilex"),
    ("within a name", "[profile x y]", "[x \ty]", "! c1 SectionName profile x y\n! k1 SectionName x \ty"),
    ("no other white space", "[profile\u{a0}x]", "", "! c1 OtherSection profile\u{a0}x"),
    // Section names.
    ("all that is allowed", "[profile aZ09-_/.%@:+]", "", "aZ09-_/.%@:+"),
    ("case matters", "", "[x]\n[X]", "X\nx"),
    // botocore reads a header of the config file by the rules of shlex. The AWS CLI writes it with single quotes, and the
    // header of the credentials file bare.
    (
        "spaces in quotes",
        "[profile 'my dev']\na=b\n[sso-session 'FOO BAR']\n[services \"my s\"]\n[profile ops\\ 1]\n[profile 'a'\"b\"]\n\
         [profile \"default\"]",
        "[my dev]\nc=d",
        "ab\ndefault\nmy dev.a=b @c2\nmy dev.c=d @k2\nops 1\nsso-session FOO BAR\nservices my s",
    ),
    // Section names: beyond it.
    (
        "quotes that do not match, and names that no quotes allow",
        "[profile 'x]\n[profile \"x'y\"]\n[profile 'x'y z]\n[profile ' x']\n[profile '']\n[profile x\\]",
        "['x y']",
        "! c1 SectionName profile 'x\n! c2 SectionName profile \"x'y\"\n! c3 SectionName profile 'x'y z\n\
         ! c4 SectionName profile ' x'\n! c5 SectionName profile ''\n! c6 SectionName profile x\\\n! k1 SectionName 'x y'",
    ),
    (
        "other characters",
        "[profile a!]\n[services \"b\\\"]\n[sso-session ö]",
        "[a,b]\n[a\0]",
        "! c1 SectionName profile a!\n! c2 SectionName services \"b\\\"\n! c3 SectionName sso-session ö\n\
         ! k1 SectionName a,b\n! k2 SectionName a\0",
    ),
    // Property names.
    ("all that is allowed", "[default]\na09-_/.%@:+=b", "", "default.a09-_/.%@:+=b @c2"),
    ("white space around", "[default]\na \t=b", "", "default.a=b @c2"),
    // Property names: beyond it.
    (
        "other characters",
        "[default]\na b=c\nä=d\na#=e\n\"f\"=g\nh=i",
        "",
        "default.h=i @c6\n! c2 PropertyName\n! c3 PropertyName\n! c4 PropertyName\n! c5 PropertyName",
    ),
    (
        "with the lines that continue it",
        "[default]\na=b\nc d=e\n f\ng h=\n i=j\n k l=m",
        "",
        "default.a=b @c2\n! c3 PropertyName\n! c5 PropertyName",
    ),
    ("sub-properties too", "[default]\na=\n b c=d\n e=f", "", "default.a= @c2\ndefault.a.e=f @4\n! c3 SubPropertyName"),
    // Any case.
    ("names of properties", "[default]\nAbC=1\n", "", "default.abc=1 @c2"),
    ("a repetition", "[default]\nA=1\na=2\nX:Y=1\nx:y=2", "", "default.a=2 @c3\ndefault.x:y=2 @c5"),
    ("names of sub-properties", "[default]\na=\n B=1\n b=2", "", "default.a= @c2\ndefault.a.b=2 @4"),
    // Any case: beyond it.
    ("values", "[default]\na=B", "", "default.a=B @c2"),
    // Separator.
    ("the first =", "[default]\na=b=c == d", "", "default.a=b=c == d @c2"),
    (": is part of a name", "[default]\na:b = c", "", "default.a:b=c @c2"),
    (": is part of a value", "[default]\na = arn:aws:iam::1:role/x", "", "default.a=arn:aws:iam::1:role/x @c2"),
    // Separator: beyond it.
    (": does not separate", "[default]\na: b", "", "c2: Equals"),
    // Whole line comment.
    ("at the start", "# a\n; b\n[default]\n#c=d\n;[x\na=b", "", "default.a=b @c6"),
    ("between a value and its continuation", "[default]\na=b\n#c\n d", "", "default.a=b\\nd @c2"),
    // Whole line comment: beyond it.
    ("behind white space", "[default]\na=b\n # c", "", "default.a=b @c2"),
    ("behind white space, with nothing above", " # a\n[default]", "", "default"),
    // Comment after header.
    ("with white space", "[default] # [x]\n[profile x]\t;y", "", "default\nx"),
    ("without", "[default]#x]\n[profile x];y", "", "default\nx"),
    // Comment after header: beyond it.
    ("something else", "[default] x", "", "c1: Comment"),
    ("another bracket", "[default]]", "", "c1: Comment"),
    ("inside the brackets", "[default #x]", "", "! c1 OtherSection default #x"),
    // Comment after value.
    ("behind white space", "[default]\na=b # c ; d\ne=f\t;g", "", "default.a=b @c2\ndefault.e=f @c3"),
    ("no value", "[default]\na= #b", "", "default.a= @c2"),
    ("a continued value", "[default]\na=b #c\n d", "", "default.a=b\\nd @c2"),
    ("an empty value with sub-properties", "[default]\na= ;b\n c=d", "", "default.a= @c2\ndefault.a.c=d @3"),
    (
        "a command",
        "[default]\nCredential_Process=sh -c \"a ; b\" ; c\n[profile x]\ncredential_process = p #c\r\n[y]\n\
         credential_process=a ;b",
        "[z]\ncredential_process = p ; p",
        "default.credential_process=sh -c \"a ; b\" @c2\nx.credential_process=p @c4\nz.credential_process=p @k2\n\
         ! c2 Command\n! c4 Command\n! c5 OtherSection y\n! k2 Command",
    ),
    // Comment after value: beyond it.
    (
        "a whole command",
        "[default]\ncredential_process = sh -c \"a; b;c\" \t\r\n[profile x]\ncredential_process = # none\n\
         [profile y]\ncredential_process = a\n ; b",
        "",
        "default.credential_process=sh -c \"a; b;c\" @c2\nx.credential_process= @c4\ny.credential_process=a @c6",
    ),
    ("no white space", "[default]\na=b#c;d", "", "default.a=b#c;d @c2"),
    ("right behind the =", "[default]\na=#b\nc =;d", "", "default.a=#b @c2\ndefault.c=;d @c3"),
    ("the first that counts", "[default]\na=#b #c", "", "default.a=#b @c2"),
    ("no other white space", "[default]\na=b\u{a0}#c", "", "default.a=b\u{a0}#c @c2"),
    // Value as written.
    ("quotes", "[default]\na=\"b\"\nc='d\ne=\"f", "", "default.a=\"b\" @c2\ndefault.c='d @c3\ndefault.e=\"f @c4"),
    ("escapes", "[default]\na=\\n\\x41\\\\", "", "default.a=\\n\\x41\\\\ @c2"),
    (
        "a \\ last",
        "[default]\na=b\\\nc=d\\\n\n[profile x]\ne=f\\",
        "",
        "default.a=b\\ @c2\ndefault.c=d\\ @c3\nx.e=f\\ @c6",
    ),
    ("brackets and dollars", "[default]\na=[b]\nc=${d}%(e)s", "", "default.a=[b] @c2\ndefault.c=${d}%(e)s @c3"),
    ("empty", "[default]\na=\nb=c", "", "default.a= @c2\ndefault.b=c @c3"),
    (
        "white space of other kinds",
        "[default]\na=\u{a0}b\u{3000}\nc=\u{b}d\u{c}",
        "",
        "default.a=\u{a0}b\u{3000} @c2\ndefault.c=\u{b}d\u{c} @c3",
    ),
    ("control characters", "[default]\na=b\0c\rd\u{1b}", "", "default.a=b\0c\rd\u{1b} @c2"),
    // Value as written: beyond it.
    ("white space around it", "[default]\na= \tb  c\t ", "", "default.a=b  c @c2"),
    // Continuation.
    ("behind a space or a tab", "[default]\na=b\n c\n\td", "", "default.a=b\\nc\\nd @c2"),
    ("trimmed", "[default]\na=b\n \t c \t", "", "default.a=b\\nc @c2"),
    ("comment characters", "[default]\na=b\n # c\n d ; e", "", "default.a=b\\nd ; e @c2"),
    ("what looks like something else", "[default]\na=b\n [x]\n c=d", "", "default.a=b\\n[x]\\nc=d @c2"),
    ("behind blank lines", "[default]\na=b\n\n \t\n c", "", "default.a=b\\nc @c2"),
    ("a \\ last in each line", "[default]\na=b\\\n c\\\nd=e", "", "default.a=b\\\\nc\\ @c2\ndefault.d=e @c4"),
    // Continuation: beyond it.
    ("outside a section", " a=b", "", "c1: Header"),
    (
        "indented under a header",
        "[default]\n  a=b #c\n  s3=\n    d=e\n  f=g\n   h\n i=j",
        "",
        "default.a=b @c2\ndefault.f=g\\nh @c5\ndefault.i=j @c7\ndefault.s3= @c3\ndefault.s3.d=e @4",
    ),
    (
        "indented comments",
        "[default]\n  # x\na=b\n  ; c = d\ns3=\n # x\n d=e",
        "",
        "default.a=b @c3\ndefault.s3= @c5\ndefault.s3.d=e @7",
    ),
    ("not across headers", "[default]\na=b\n[profile x]\n c", "", "c4: Equals"),
    ("not across repeated headers", "[default]\na=b\n[default]\n c", "", "c4: Equals"),
    ("not across ignored headers", "[default]\na=b\n[x]\n c", "", "c4: Equals"),
    // Sub property.
    (
        "below an empty value",
        "[default]\ns3 =\n a = b\n\tc=d\ne=f",
        "",
        "default.e=f @c5\ndefault.s3= @c2\ndefault.s3.a=b @3\ndefault.s3.c=d @4",
    ),
    ("blank lines", "[default]\ns3=\n\n \t\n a=b\n\n c=d", "", "default.s3= @c2\ndefault.s3.a=b @5\ndefault.s3.c=d @7"),
    ("empty, and with =", "[default]\ns3=\n a=\n b==c=", "", "default.s3= @c2\ndefault.s3.a= @3\ndefault.s3.b==c= @4"),
    ("comment characters", "[default]\ns3=\n a=b # c", "", "default.s3= @c2\ndefault.s3.a=b # c @3"),
    ("the last one counts", "[default]\ns3=\n a=b\n a=c", "", "default.s3= @c2\ndefault.s3.a=c @4"),
    // Sub property: beyond it.
    ("no =", "[default]\ns3=\n a=b\n c", "", "c4: SubProperty"),
    ("no name", "[default]\ns3=\n  = b", "", "c3: Name"),
    ("below a value", "[default]\ns3=x\n a=b", "", "default.s3=x\\na=b @c2"),
    // Repetition.
    (
        "sections merge",
        "[profile x]\na=1\nb=1\n[default]\n[profile  x]\nb=2\nc=2",
        "",
        "default\nx.a=1 @c2\nx.b=2 @c6\nx.c=2 @c7",
    ),
    ("in the credentials file", "", "[x]\na=1\n[x]\na=2\nb=2", "x.a=2 @k4\nx.b=2 @k5"),
    (
        "other kinds of sections",
        "[services x]\na=1\n[services x]\na=2\n[sso-session y]\nb=1\n[sso-session y]\nc=2",
        "",
        "sso-session y.b=1 @c6\nsso-session y.c=2 @c8\nservices x.a=2 @c4",
    ),
    ("later properties win", "[default]\na=1\nb=\\\na=2\nb=3\na=4\nb=\\5", "", "default.a=4 @c6\ndefault.b=\\5 @c7"),
    (
        "with all that belongs to them",
        "[default]\na=\n b=c\na=\n d=e\nf=g\n h\nf=i",
        "",
        "default.a= @c4\ndefault.a.d=e @5\ndefault.f=i @c8",
    ),
    // Repetition: beyond it.
    ("sections of other names", "[profile x]\na=1\n[profile y]\na=2", "", "x.a=1 @c2\ny.a=2 @c4"),
    // Between files.
    ("property by property", "[profile x]\na=1\nb=1", "[x]\nb=2\nc=2", "x.a=1 @c2\nx.b=2 @k2\nx.c=2 @k3"),
    ("an empty value wins too", "[default]\na=1", "[default]\na=", "default.a= @k2"),
    ("sub-properties go with theirs", "[default]\na=\n b=1", "[default]\na=\n c=2", "default.a= @k2\ndefault.a.c=2 @3"),
    // Between files: beyond it.
    ("a profile of one file", "[profile x]\na=1", "[y]\na=2", "x.a=1 @c2\ny.a=2 @k2"),
    ("a bare name in the config file", "[x]\na=1", "[x]\nb=2", "x.b=2 @k2\n! c1 OtherSection x"),
    ("one bad file is an error", "[default]\na=1", "[default]\na", "k2: Equals"),
    // Inside a section.
    ("a property", "\n\n[default]\na=b", "", "default.a=b @c4"),
    // Inside a section: beyond it.
    ("a property first", "\na=b\n[default]", "", "c2: Header"),
    ("in the credentials file", "", "a=b", "k1: Header"),
    // Equals.
    ("any number", "[default]\na==", "", "default.a== @c2"),
    // Equals: beyond it.
    ("none", "[default]\na", "", "c2: Equals"),
    ("a stray bracket", "[default]\n]a", "", "c2: Equals"),
    // Empty name.
    ("the shortest name", "[default]\na=", "[b]", "b\ndefault.a= @c2"),
    // Empty name: beyond it.
    ("of a property", "[default]\n=b", "", "c2: Name"),
    ("of a section", "[ \t]", "", "c1: SectionName"),
    ("of a section, no white space", "", "[]", "k1: SectionName"),
    // Bracket.
    ("at the end", "[default]", "", "default"),
    // Bracket: beyond it.
    ("missing", "\n[default\na=b]", "", "c2: Bracket"),
    ("in an ignored section", "[x # y", "", "c1: Bracket"),
    // Line ends.
    (
        "CRLF",
        "[default]\r\na=b\r\n\r\nc=d\\\r\ns3=\r\n e=f\r\n",
        "",
        "default.a=b @c2\ndefault.c=d\\ @c4\ndefault.s3= @c5\ndefault.s3.e=f @6",
    ),
    ("CRLF in a continuation", "[default] #x\r\na=b #c\r\n \r\n d\r\n", "", "default.a=b\\nd @c2"),
    ("none at the end of the file", "[default]\na=b", "", "default.a=b @c2"),
    // Line ends: beyond it.
    ("CR alone ends no line", "[default]\na=b\rc=d", "", "default.a=b\rc=d @c2"),
    // Byte order mark.
    ("before a header", "\u{feff}[default]\na=b", "\u{feff}[default]", "default.a=b @c2"),
    ("before a comment, or alone", "\u{feff}#x\n[default]", "\u{feff}", "default"),
    // Byte order mark: beyond it.
    ("only one", "\u{feff}\u{feff}[default]", "", "c1: Equals"),
    ("only at the start", "\n\u{feff}[default]", "", "c2: Equals"),
    // Utf8.
    ("in values", "[default]\na=ä€𝄞", "", "default.a=ä€𝄞 @c2"),
    // Utf8: beyond it.
];

/// The case beyond UTF-8, which no string can hold.
const NO_UTF8: &[u8] = b"[default]\n# a\xffb";

fn parse(config: &[u8], credentials: &[u8]) -> Result<SharedConfig, ParseError> {
    SharedConfig::parse(
        Some(FileContent { path: Path::new("/config"), bytes: config }),
        Some(FileContent { path: Path::new("/credentials"), bytes: credentials }),
    )
}

/// Prints the parsed sections, line by line: `section.property=value @` with `c` or `k` for the file, and the line.
fn parsed(config: &[u8], credentials: &[u8]) -> Vec<String> {
    let letter = |file| if file == SharedFile::Config { 'c' } else { 'k' };
    let files = match parse(config, credentials) {
        Ok(files) => files,
        Err(error) => return vec![format!("{}{}: {:?}", letter(error.file), error.line, error.expected)],
    };
    let mut lines = Vec::new();
    let lists = [("", &files.profiles), ("sso-session ", &files.sso_sessions), ("services ", &files.services)];
    for (word, section) in lists.iter().flat_map(|(word, sections)| sections.iter().map(move |it| (word, it))) {
        let before = lines.len();
        for (name, property) in section.properties() {
            let start = format!("{word}{}.{name}", section.name());
            let value = property.value().replace('\n', "\\n");
            lines.push(format!("{start}={value} @{}{}", letter(property.file()), property.line()));
            for (name, sub) in property.sub_properties() {
                lines.push(format!("{start}.{name}={} @{}", sub.value(), sub.line()));
            }
        }
        if lines.len() == before {
            lines.push(format!("{word}{}", section.name()));
        }
    }
    for warning in files.warnings() {
        let mut line = format!("! {}{} ", letter(warning.file), warning.line);
        match &warning.ignored {
            IgnoredItem::OtherSection(name) => write!(line, "OtherSection {name}").unwrap(),
            IgnoredItem::Prefixed(name) => write!(line, "Prefixed {name}").unwrap(),
            IgnoredItem::SectionName(name) => write!(line, "SectionName {name}").unwrap(),
            other => write!(line, "{other:?}").unwrap(),
        }
        lines.push(line);
    }
    lines
}

#[test]
fn reads_every_case_by_the_grammar() {
    for (name, config, credentials, expected) in CASES {
        assert_eq!(parsed(config.as_bytes(), credentials.as_bytes()).join("\n"), *expected, "{name}: {config:?}");
    }
    assert_eq!(parsed(NO_UTF8, b""), ["c2: Utf8"]);
}

#[test]
fn keeps_every_printable_byte_of_secrets() {
    let printable = (b'!'..=b'~').filter(|byte| *byte != b'\\').map(char::from);
    let secret: String = printable.chain([' ', 'x', '\\']).collect();
    assert_eq!(secret.len(), 96);
    for name in ["aws_secret_access_key", "AWS_SESSION_TOKEN", "aws_access_key_id"] {
        let text = format!("[x]\n{name} = {secret}\nregion = y\n");
        let lower = name.to_ascii_lowercase();
        let mut expected = [format!("x.{lower}={secret} @k2"), "x.region=y @k3".to_owned()];
        expected.sort();
        assert_eq!(parsed(b"", text.as_bytes()), expected);
    }
}

#[test]
fn reads_each_printable_byte_at_any_position() {
    for byte in (b'!'..=b'~').map(char::from) {
        for value in [format!("{byte}"), format!("{byte}a"), format!("a{byte}b"), format!("a{byte}")] {
            for name in ["aws_secret_access_key", "other"] {
                let text = format!("[x]\n{name}={value}\ny=z");
                assert_eq!(parsed(b"", text.as_bytes()), [format!("x.{name}={value} @k2"), "x.y=z @k3".to_owned()]);
            }
        }
    }
}

#[test]
fn orders_and_limits_warnings() {
    let mut text = "[default]\n[profile default]\n".to_owned();
    text.extend((0..150).map(|_| "a b=c\n"));
    let warned = parsed(text.as_bytes(), b"[d!d]");
    assert_eq!(warned.len(), 1 + 1 + 100 + 1 + 1);
    assert_eq!(warned[1], "! c1 Default");
    assert_eq!(warned[101], "! c102 PropertyName");
    assert_eq!(warned[102], "! c103 More(50)");
    assert_eq!(warned[103], "! k1 SectionName d!d");
}

#[test]
fn reads_absent_files_as_empty() {
    let config = FileContent { path: Path::new("/config"), bytes: b"[default]\na=b" };
    let files = SharedConfig::parse(Some(config), None).unwrap();
    assert_eq!(files.profiles().collect::<Vec<_>>(), ["default"]);
    let files = SharedConfig::parse(None, Some(config)).unwrap();
    assert_eq!(files.profile("default").and_then(|it| it.get("a")).map(Property::file), Some(SharedFile::Credentials));
    assert_eq!(SharedConfig::parse(None, None).unwrap().profiles().count(), 0);
}

#[test]
fn shows_no_value_in_errors_warnings_and_debug() {
    for (config, message) in [
        (
            "[default]\naws_session_token: hunter2",
            "config file /config, line 2: expected NAME = VALUE (only `=` separates the two)",
        ),
        (
            "[default]\na=\n hunter2",
            "config file /config, line 3: expected NAME = VALUE, as this line belongs to a property with an empty value",
        ),
    ] {
        let error = parse(config.as_bytes(), b"").unwrap_err();
        assert_eq!(error.to_string().split("; correct").next(), Some(message));
        assert!(!format!("{error:?}{error}").contains("hunter2"));
    }
    let config = b"[default]\na=hunter2\n b\nc=\n d=hunter2\naws_session_token: hunter2==\nx:hunter2==\n[e\x1b f]\n";
    let files = parse(config, b"").unwrap();
    let warnings: Vec<String> = files.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "config file /config, line 6: a property is ignored: names allow letters, digits and -_/.%@:+",
            "config file /config, line 8: section [e\\u{1b} f] is ignored: the config file has [default], [profile NAME], \
             [sso-session NAME] and [services NAME]",
        ]
    );
    let default = files.profile("default").unwrap();
    let content = FileContent { path: Path::new("/config"), bytes: config };
    for shown in [
        format!("{files:?}"),
        format!("{:?}", default.get("a")),
        format!("{:?} {:?}", default.get("c"), default.get("c").and_then(|it| it.sub_property("d"))),
        format!("{content:?}"),
    ] {
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
    }
}

#[test]
fn reads_long_files_to_the_end() {
    let section = |number: usize| format!("[x{number}]\na={number}\nb:c=1\nd=\\\ne={number} #\n");
    let text: String = (0..3000).map(section).collect();
    let files = parse(b"", text.as_bytes()).unwrap();
    assert_eq!(files.profiles().count(), 3000);
    for number in 0..3000 {
        let profile = files.profile(&format!("x{number}")).unwrap();
        let value = |name| profile.get(name).map(|it| (it.value().to_owned(), it.line() as usize));
        assert_eq!(value("a"), Some((number.to_string(), 5 * number + 2)));
        assert_eq!(value("b:c"), Some(("1".to_owned(), 5 * number + 3)));
        assert_eq!(value("d"), Some(("\\".to_owned(), 5 * number + 4)));
        assert_eq!(value("e"), Some((number.to_string(), 5 * number + 5)));
    }
}
