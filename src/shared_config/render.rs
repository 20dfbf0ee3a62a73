//! Writes the shared files of the child of `exec`. rust-ini writes the text, in the grammar that our parser reads.
//!
//! Other programs read these files with parsers of their own. So only names and values are written that every parser
//! reads alike, whatever the user's files contain.

use ini::{EscapePolicy, Ini, LineSeparator, Properties, WriteOption};
use zeroize::Zeroizing;

use crate::model::location::Location;
use crate::shared_config::section::{Property, Section};
use crate::shared_config::{SharedConfig, SharedFile, allow_list};

/// The properties that say where credentials come from. The names are from the SDK reference guide, botocore and the
/// AWS CLI (`login_session`). Others are from aws-vault (`mfa_process`, `source_identity`, the tags) and saml2aws
/// (`x_…`).
const CREDENTIAL_PROPERTIES: [&str; 16] = [
    "credential_process",
    "credential_source",
    "duration_seconds",
    "external_id",
    "login_session",
    "mfa_process",
    "mfa_serial",
    "role_arn",
    "role_session_name",
    "session_tags",
    "source_identity",
    "source_profile",
    "transitive_session_tags",
    "user_identity",
    "web_identity_token_file",
    "x_principal_arn",
];

/// The prefixes of further credential properties: keys, tokens, account and expiration (no setting of another kind
/// begins with `aws_`), single sign-on, and the notes of saml2aws about a token.
const CREDENTIAL_PREFIXES: [&str; 3] = ["aws_", "sso_", "x_security_token_"];

const DEFAULT: &str = "default";

/// configparser adds the properties of this section to all other sections.
const CONFIGPARSER_DEFAULT: &str = "DEFAULT";

/// The name under which the user's default profile is kept for profiles that name it as their source.
const KEPT_DEFAULT: &str = "credenza-default";

/// The `services` section with the S3 endpoint of the broker's credentials.
const BROKER_SERVICES: &str = "credenza-default";

const UNWRITABLE: &str = "other programs would not read it as it stands in the file (a control character, a line break, \
                          white space before `#` or `;`, or a colon in a name)";

/// Checks file trust for a property. The error is the reason, for a message: `belongs to user 1001, …`.
pub(crate) type TrustOfFile<'a> = &'a dyn Fn(&Property) -> Result<(), String>;

/// The texts of the two files, and what they leave out.
#[derive(Default)]
pub(crate) struct ChildFiles {
    pub(crate) config: Zeroizing<String>,
    pub(crate) credentials: Zeroizing<String>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// The region and the S3 endpoint of the broker's credentials, for a `[default]` beside other profiles. A variable would
/// take precedence over the region and endpoint of every profile, and their keys would go to the broker's endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BesideProfiles<'a> {
    pub(crate) region: Option<&'a str>,
    pub(crate) endpoint: Option<&'a str>,
}

/// A setting or a profile that the child does not get. `Display` shows no name of a property, which may hold a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{location}: the command does not get this {what}: {reason}")]
pub(crate) struct LeftOut {
    location: Location,
    what: &'static str,
    reason: Box<str>,
}

/// Returns the files of a child: the settings of this profile as `[default]`, with the `[services]` section that they
/// name.
///
/// A setting of a trusted file is written with its sub-properties, unless it is about credentials or roles. A setting
/// of an untrusted file is written if it is on the allow list. So a program with these files and the address of a broker
/// gets credentials only from the broker.
///
/// With `kept`, the other profiles of trusted files are written as they are, each into the file that it is
/// from, with all `[sso-session]` and `[services]` sections. A profile that cannot be written whole is left out: without
/// a part, it might be another principal.
pub(crate) fn render(
    files: &SharedConfig,
    profile: Option<&Section>,
    kept: Option<BesideProfiles<'_>>,
    trusted: TrustOfFile<'_>,
) -> ChildFiles {
    let (config, credentials, left_out) = (Ini::new(), Ini::new(), Vec::new());
    let mut renderer = Renderer { files, trusted, config, credentials, left_out };
    renderer.write_default(profile);
    if let Some(default) = kept {
        renderer.keep_profiles();
        renderer.write_region_and_endpoint(default);
    }
    let Renderer { config, credentials, left_out, .. } = renderer;
    ChildFiles { config: text(&config), credentials: text(&credentials), left_out }
}

struct Renderer<'a> {
    files: &'a SharedConfig,
    trusted: TrustOfFile<'a>,
    config: Ini,
    credentials: Ini,
    left_out: Vec<LeftOut>,
}

impl<'a> Renderer<'a> {
    fn write_default(&mut self, profile: Option<&'a Section>) {
        let settings = profile.map_or_else(Properties::new, |profile| self.settings(profile, false));
        self.config.entry(Some(DEFAULT.into())).or_insert(settings);
        let services = profile.and_then(|profile| self.files.services(profile.get("services")?.value()));
        if let Some((services, header)) =
            services.and_then(|section| Some((section, header("services", section.name())?)))
        {
            let settings = self.settings(services, true);
            self.config.entry(Some(header)).or_insert(settings);
        }
    }

    /// The endpoint that the profile itself has stays in its `services` or `endpoint_url`.
    fn write_region_and_endpoint(&mut self, BesideProfiles { region, endpoint }: BesideProfiles<'_>) {
        let mut services = BROKER_SERVICES.to_owned();
        while self.files.services(&services).is_some() {
            services.push('-');
        }
        let Some(default) = self.config.section_mut(Some(DEFAULT)) else { return };
        if let Some(region) = region {
            default.insert("region", region);
        }
        if let Some(endpoint) =
            endpoint.filter(|_| !default.contains_key("services") && !default.contains_key("endpoint_url"))
        {
            default.insert("services", services.as_str());
            let mut s3 = Properties::new();
            s3.insert("s3", format!("\n  endpoint_url={endpoint}"));
            self.config.entry(Some(format!("services {services}"))).or_insert(s3);
        }
    }

    /// Returns the settings of a profile or of a `services` section, without those about credentials.
    fn settings(&mut self, section: &Section, is_services: bool) -> Properties {
        let mut kept = Properties::new();
        for (name, property) in section.properties() {
            // In a `services` section `sso_oidc` is a service, not a credential property.
            let is_service = is_services && property.sub_properties().next().is_some();
            if !is_service && !is_setting(name) {
                continue;
            }
            let is_allowed = || !is_services && is_exact(name, property) && allow_list::allows(name, property);
            match self.check(name, property).or_else(|reason| if is_allowed() { Ok(()) } else { Err(reason) }) {
                Ok(()) => kept.insert(name, value_lines(property, is_setting)),
                Err(reason) => {
                    let location = property.location();
                    self.left_out.push(LeftOut { location, what: "setting", reason });
                }
            }
        }
        kept
    }

    fn check(&self, name: &str, property: &Property) -> Result<(), Box<str>> {
        if !is_exact(name, property) {
            return Err(UNWRITABLE.into());
        }
        (self.trusted)(property).map_err(|distrust| format!("the file {distrust}").into())
    }

    fn keep_profiles(&mut self) {
        let files = self.files;
        let profiles = || files.profiles().filter_map(|name| files.profile(name));
        let names_default = |section: &Section| section.get("source_profile").is_some_and(is_default);
        let mut kept_default = KEPT_DEFAULT.to_owned();
        while files.profile(&kept_default).is_some() {
            kept_default.push('-');
        }
        let has_kept_default = profiles().any(names_default);
        for section in profiles() {
            match section.name() {
                DEFAULT if has_kept_default => self.keep(section, "profile", &kept_default, &kept_default),
                DEFAULT => {}
                name => self.keep(section, "profile", name, &kept_default),
            }
        }
        for (word, sections) in [("sso-session", &files.sso_sessions), ("services", &files.services)] {
            for section in sections {
                self.keep(section, word, section.name(), &kept_default);
            }
        }
    }

    /// Writes a section as it is, or not at all: then a section that it names cannot be written, or the section itself.
    /// `source_profile = default` becomes the name of the kept default.
    fn keep(&mut self, section: &Section, word: &'static str, name: &str, kept_default: &str) {
        let services = section.get("services").and_then(|name| self.files.services(name.value()));
        let session = section.get("sso_session").and_then(|name| self.files.sso_session(name.value()));
        let all = [Some(section), services, session].into_iter().flatten().flat_map(Section::properties);
        let refused = { all }.find_map(|(name, property)| Some((property, self.check(name, property).err()?)));
        let header = header(word, name).filter(|_| name != CONFIGPARSER_DEFAULT);
        let refused = match (refused, header) {
            (None, Some(header)) => {
                let of = |file| {
                    let mut kept = Properties::new();
                    for (name, property) in section.properties().filter(|(_, property)| property.file() == file) {
                        let is_renamed = name == "source_profile" && is_default(property);
                        let lines = || value_lines(property, |_| true);
                        kept.insert(name, if is_renamed { kept_default.to_owned() } else { lines() });
                    }
                    kept
                };
                self.config.entry(Some(header)).or_insert(of(SharedFile::Config));
                let credentials = of(SharedFile::Credentials);
                if !credentials.is_empty() {
                    self.credentials.entry(Some(name.to_owned())).or_insert(credentials);
                }
                return;
            }
            (Some(refused), _) => Some(refused),
            (None, None) => section.properties().next().map(|(_, property)| (property, UNWRITABLE.into())),
        };
        if let Some((property, reason)) = refused {
            let (location, what) = match word {
                "profile" => (property.location().in_profile(section.name()), word),
                _ => (property.location(), "section"),
            };
            self.left_out.push(LeftOut { location, what, reason });
        }
    }
}

fn is_default(property: &Property) -> bool {
    property.value().trim() == DEFAULT
}

/// Returns the header of a section: `profile dev`, or `profile 'my dev'` as the AWS CLI writes it. `None` if other
/// programs would read another name.
fn header(word: &str, name: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_/.%@:+".contains(c);
    match name {
        "" => None,
        name if name.chars().all(is_plain) => Some(format!("{word} {name}")),
        name if name.trim() == name && name.chars().all(|c| is_plain(c) || c == ' ') => {
            Some(format!("{word} '{name}'"))
        }
        _ => None,
    }
}

/// Returns true if every parser reads the written property as this name and this value.
///
/// configparser separates at `:` too, and it and `str.splitlines` break lines at more characters than `\n`. Python and
/// JavaScript trim white space that our grammar keeps, and some SDKs begin a comment after it.
fn is_exact(name: &str, property: &Property) -> bool {
    let is_written = |name: &str, value: &str| {
        let is_break = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        let begins_comment = |(c, next): (char, char)| c.is_whitespace() && matches!(next, '#' | ';');
        !name.contains(|c: char| c == ':' || is_break(c))
            && !value.contains(is_break)
            && value.trim() == value
            && !value.chars().zip(value.chars().skip(1)).any(begins_comment)
    };
    is_written(name, property.value()) && property.sub_properties().all(|(name, below)| is_written(name, below.value()))
}

/// Returns the value, with the sub-properties that `is_kept` selects in indented lines below.
fn value_lines(property: &Property, is_kept: impl Fn(&str) -> bool) -> String {
    let mut lines = property.value().to_owned();
    for (name, sub_property) in property.sub_properties().filter(|(name, _)| is_kept(name)) {
        lines.extend(["\n  ", name, "=", sub_property.value()]);
    }
    lines
}

fn is_setting(name: &str) -> bool {
    !CREDENTIAL_PROPERTIES.contains(&name) && !CREDENTIAL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn text(ini: &Ini) -> Zeroizing<String> {
    let options = WriteOption {
        // Write values without escapes: the grammar has no escapes.
        escape_policy: EscapePolicy::Nothing,
        line_separator: LineSeparator::CR,
        // Write no white space around `=`: before a value that begins with `#` it would begin a comment.
        kv_separator: "=",
    };
    let mut text = Vec::new();
    ini.write_to_opt(&mut text, options).expect("a vector takes all bytes");
    Zeroizing::new(String::from_utf8(text).expect("an Ini holds text"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::shared_config::FileContent;

    fn files(config: &str) -> SharedConfig {
        let content = FileContent { path: Path::new("/config"), bytes: config.as_bytes() };
        SharedConfig::parse(Some(content), None).unwrap()
    }

    fn rendered(config: &str) -> String {
        rendered_of(config, false, &|_| Ok(())).config.to_string()
    }

    fn rendered_of(config: &str, keeps_profiles: bool, trusted: TrustOfFile<'_>) -> ChildFiles {
        let files = files(config);
        render(&files, files.profile("p"), keeps_profiles.then(BesideProfiles::default), trusted)
    }

    #[test]
    fn broker_has_its_region_and_endpoint_in_its_own_profile() {
        let broker = Some(BesideProfiles { region: Some("r1"), endpoint: Some("http://h:9") });
        let of = |config: &str| {
            let files = files(config);
            render(&files, files.profile("p"), broker, &|_| Ok(())).config.to_string()
        };
        let other = "[services credenza-default]\ns3 =\n  endpoint_url=http://o\n";
        let text = of(&format!("[profile p]\nregion = r2\n[profile prod]\nregion = r3\n{other}"));
        for part in [
            "region=r1\n",
            "services=credenza-default-\n",
            "[services credenza-default-]\ns3=\n  endpoint_url=http://h:9\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("[profile prod]\nregion=r3\n") && !text.contains("r2\n[default]"), "{text}");
        for own in ["endpoint_url = http://p\n", "services = s\n[services s]\ns3 =\n  endpoint_url = http://p\n"] {
            let text = of(&format!("[profile p]\n{own}"));
            assert!(text.contains("http://p") && !text.contains("http://h:9"), "{text}");
        }
    }

    #[test]
    fn writes_settings_without_credentials() {
        let config = "
[default]
output = text
[profile p]
aws_access_key_id = AKIA
aws_secret_access_key = hunter2
aws_session_token = hunter2
aws_security_token = hunter2
aws_session_token:hunter2= =
aws_account_id = 1
role_arn = r
source_profile = s
credential_source = c
credential_process = p
external_id = e
role_session_name = n
duration_seconds = 900
mfa_serial = m
web_identity_token_file = f
login_session = l
sso_session = x
sso_start_url = u
sso_account_id = 1
region = eu-west-1
endpoint_url=#x
s3 =
  addressing_style = path
  aws_secret_access_key = hunter2
user_agent_appid = a
services = mine
[services mine]
sso_oidc =
  endpoint_url = http://o
aws_secret_access_key = hunter2
s3 =
  endpoint_url = http://s
[services other]
s3 =
  endpoint_url = http://o
[sso-session x]
sso_start_url = u
";
        let expected = "[default]
endpoint_url=#x
region=eu-west-1
s3=
  addressing_style=path
services=mine
user_agent_appid=a

[services mine]
s3=
  endpoint_url=http://s
sso_oidc=
  endpoint_url=http://o
";
        assert_eq!(rendered(config), expected);
    }

    #[test]
    fn keeps_the_name_of_missing_services() {
        assert_eq!(
            rendered("[profile p]\nservices = gone\n[services other]\ns3 =\n a = b\n"),
            "[default]\nservices=gone\n"
        );
        assert_eq!(rendered("[profile p]\n[services other]\ns3 =\n a = b\n"), "[default]\n");
    }

    /// Settings that botocore would read as other settings: a program, another host, half of another value.
    #[test]
    fn leaves_out_what_other_parsers_read_differently() {
        for line in [
            "retry_mode = standard\rcredential_process = /x",
            "endpoint_url:http://evil.example = x",
            "x = a\u{85}b",
            "x = a\u{2028}b",
            "x = a\u{b}b",
            "x = a\n  b",
            "x = \u{a0}a",
            "x = a\u{3000}#b",
            "s3 =\n  a = b # c",
            "s3 =\n  a = b\u{1c}cli_pager = x",
            "s3 =\n  a:b = c",
        ] {
            for trusted in [&(|_: &Property| Ok(())) as TrustOfFile<'_>, &|_| Err("is foreign".into())] {
                let files = rendered_of(&format!("[profile p]\nregion = r\n{line}\n"), false, trusted);
                assert_eq!(&*files.config, "[default]\nregion=r\n", "{line:?}");
                let [left_out] = &files.left_out[..] else { panic!("{line:?}") };
                let text = left_out.to_string();
                assert!(text.starts_with("/config, line 3: the command does not get this setting: other"), "{text}");
            }
        }
    }

    #[test]
    fn untrusted_file_gives_checked_settings_only() {
        let kept = [
            "max_attempts=5",
            "region=eu-west-1",
            "retry_mode=Standard",
            "s3=\n  addressing_style=path\n  multipart_chunksize=16MB",
            "use_fips_endpoint=true",
        ];
        let left_out = [
            "aws_access_key_id=AKIA",
            "ca_bundle=/x",
            "cli_pager=/x",
            "credential_process=/x",
            "defaults_mode=/x",
            "endpoint_url=http://evil.example",
            "ignore_configured_endpoint_urls=true",
            "max_attempts=-1",
            "max_attempts=",
            "region=evil.example/",
            "request_checksum_calculation=always",
            "s3=path",
            "s3=\n  addressing_style=x",
            "s3=\n  addressing_style=path\n  payload_signing_enabled=false",
            "s3=\n  multipart_chunksize=16 MB",
            "services=mine",
            "sts_regional_endpoints=\n  a=b",
        ];
        let untrusted: TrustOfFile<'_> = &|_| Err("is foreign".into());
        for line in kept {
            let files = rendered_of(&format!("[profile p]\n{line}\n"), false, untrusted);
            assert_eq!((&**files.config, &files.left_out[..]), (&*format!("[default]\n{line}\n"), &[][..]));
        }
        for line in left_out {
            let files = rendered_of(&format!("[profile p]\n{line}\n"), false, untrusted);
            assert_eq!(&*files.config, "[default]\n", "{line}");
        }
    }

    #[test]
    fn keeps_whole_profiles_of_trusted_files() {
        let config = "[default]\nrole_arn = d\n[profile p]\nregion = r\naws_access_key_id = AKIAP\n\
                      [profile chain]\nrole_arn = c\nsource_profile = default\n[profile odd]\na = \u{85}\n\
                      [profile stored]\nservices = odd\n[services odd]\ns3 =\n  endpoint_url = \u{a0}http://o\n\
                      [profile empty]\n[profile DEFAULT]\ncredential_process = x\n\
                      [sso-session w]\nsso_region = r\n[services v]\ns3 =\n  endpoint_url = http://v\n";
        let credentials = "[default]\naws_access_key_id = AKIAD\n[both]\naws_access_key_id = AKIAB\n";
        let content = |path, text: &'static str| FileContent { path: Path::new(path), bytes: text.as_bytes() };
        let parsed =
            |config| SharedConfig::parse(Some(content("/c", config)), Some(content("/k", credentials))).unwrap();
        let files = parsed(config);
        let written = render(&files, files.profile("p"), Some(BesideProfiles::default()), &|_| Ok(()));
        let expected = "[default]\nregion=r\n\n[profile both]\n\n[profile chain]\nrole_arn=c\n\
                        source_profile=credenza-default\n\n[profile credenza-default]\nrole_arn=d\n[profile empty]\n\n\
                        [profile p]\naws_access_key_id=AKIAP\nregion=r\n\n[sso-session w]\nsso_region=r\n\n\
                        [services v]\ns3=\n  endpoint_url=http://v\n";
        let sorted = |text: &str| {
            let mut sections: Vec<String> = text.split('[').map(|section| section.trim().to_owned()).collect();
            sections.sort();
            sections
        };
        assert_eq!(sorted(&written.config), sorted(expected));
        let expected = "[both]\naws_access_key_id=AKIAB\n[credenza-default]\naws_access_key_id=AKIAD\n";
        assert_eq!(sorted(&written.credentials), sorted(expected));
        let left_out: Vec<String> = written.left_out.iter().map(ToString::to_string).collect();
        let starts = [
            "/c, line 18: profile DEFAULT: the command does not get this profile: other programs",
            "/c, line 10: profile odd: the command does not get this profile: other programs",
            "/c, line 14: profile stored: the command does not get this profile: other programs",
            "/c, line 14: the command does not get this section: other programs",
        ];
        assert_eq!(left_out.len(), starts.len(), "{left_out:?}");
        assert!(left_out.iter().zip(starts).all(|(text, start)| text.starts_with(start)), "{left_out:?}");
        // A profile with one property of an untrusted file is left out.
        let untrusted =
            render(&files, files.profile("p"), Some(BesideProfiles::default()), &|property| match property.file() {
                SharedFile::Config => Err("is foreign".into()),
                SharedFile::Credentials => Ok(()),
            });
        assert_eq!(&*untrusted.credentials, "[both]\naws_access_key_id=AKIAB\n");
        assert!(!untrusted.config.contains("role_arn") && !untrusted.config.contains("AKIAP"), "{}", *untrusted.config);
        let told: Vec<String> = untrusted.left_out.iter().map(ToString::to_string).collect();
        assert!(
            told.contains(
                &"/c, line 7: profile chain: the command does not get this profile: the file is foreign".into()
            ),
            "{told:?}"
        );
    }
}
