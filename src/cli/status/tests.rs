use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::cli::terminal::text::width_of_painted;

const PIPE: Screen = Screen { width: None, has_colours: false };

fn view(width: Option<usize>, verbosity: Verbosity) -> StatusView<'static> {
    StatusView { name: None, verbosity, screen: Screen { width, ..PIPE } }
}

fn document() -> Value {
    let failure = json!({
        "source": "imds", "message": "GET http://169.254.169.254/: no answer within 2 s; try later",
        "reason": "GET http://169.254.169.254/: no answer within 2 s", "times": 3, "since": "2026-11-23T15:59:00Z",
    });
    json!({
        "version": "1", "now": "2026-11-23T16:00:00Z", "started": "2026-11-23T14:00:00Z", "configuration_refused": null,
        "identities": {
            "dev": {
                "state": "available", "source": "profile dev", "access_key_id": "ASIAEXAMPLE000000001",
                "loaded": "2026-11-23T15:00:00Z", "expiration": "2026-11-23T18:57:05Z",
                "serve_until": "2026-11-23T18:57:05Z", "next_refresh": "2026-11-23T17:52:20Z", "region": "eu-west-1",
                "sources": [{ "source": "profile dev", "said": "found", "reason": null }],
            },
            "lazy": { "state": "not loaded yet", "eager": false },
            "minio": {
                "state": "available", "source": "URL of minio.internal", "access_key_id": "minio",
                "loaded": "2026-11-23T15:00:00Z", "serve_until": "2026-11-23T17:00:00Z",
                "next_refresh": "2026-11-23T16:55:00Z",
            },
            "host": { "state": "failing", "eager": true, "failure": failure },
            "prod": { "state": "login required", "login_command": "credenza login --sso-session work" },
            "stage": {
                "state": "refresh failing", "source": "imds", "access_key_id": "ASIAEXAMPLE000000002",
                "loaded": "2026-11-23T15:00:00Z", "expiration": "2026-11-23T16:20:00Z",
                "serve_until": "2026-11-23T16:20:00Z", "failure": failure,
            },
        },
    })
}

#[test]
fn shows_a_line_for_each_identity_failures_first() {
    let expected = "\
credenza 1, started 2 h ago; 3 of 6 available
IDENTITY  STATE            EXPIRES  KEY                   REFRESH  SOURCE
host      failing          GET http://169.254.169.254/: no answer within 2 s
prod      login required   run: credenza login --sso-session work
stage     refresh failing  20m      GET http://169.254.169.254/: no answer …
dev       available        2h 57m   ASIAEXAMPLE000000001  1h 52m   profile dev
minio     available                 minio                 55m      URL of …
lazy      not loaded yet
";
    assert_eq!(text(&document(), view(Some(80), Verbosity::Normal)), expected);
}

#[test]
fn leaves_columns_out_at_a_narrow_terminal() {
    let expected = "\
credenza 1, started 2 h ago; 3 of 6 available
IDENTITY  STATE            EXPIRES  REFRESH  SOURCE
host      failing          GET http://169.254.169.254/: no …
prod      login required
  run: credenza login --sso-session work
stage     refresh failing  20m      GET …
dev       available        2h 57m   1h 52m   profile dev
minio     available                 55m      URL of …
lazy      not loaded yet
";
    assert_eq!(text(&document(), view(Some(60), Verbosity::Normal)), expected);
}

#[test]
fn shows_a_bar_if_there_is_room() {
    let shown = text(&document(), view(Some(100), Verbosity::Normal));
    let dev = shown.lines().find(|line| line.starts_with("dev")).unwrap();
    assert_eq!(dev, "dev       available        ████░░ 2h 57m  ASIAEXAMPLE000000001  1h 52m   profile dev");
}

#[test]
fn pipe_gets_whole_lines_without_colours() {
    let shown = text(&document(), view(None, Verbosity::Normal));
    assert!(shown.contains("GET http://169.254.169.254/: no answer within 2 s\n"), "{shown}");
    assert!(shown.contains("  URL of minio.internal\n"), "{shown}");
    let painted =
        text(&document(), StatusView { screen: Screen { has_colours: true, ..PIPE }, ..view(None, Verbosity::Normal) });
    assert!(painted.contains("\x1b[1;31mfailing\x1b[0m") && painted.contains("\x1b[32mavailable\x1b[0m"), "{painted}");
}

#[test]
fn quiet_shows_only_what_fails_and_verbose_all() {
    let quiet = text(&document(), view(None, Verbosity::Quiet));
    let names: Vec<_> = quiet.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["IDENTITY", "host", "prod", "stage"]);
    let name = IdentityName::from("dev");
    let one = text(&document(), StatusView { name: Some(&name), ..view(None, Verbosity::Normal) });
    let expected = "\
dev: available
  ASIAEXAMPLE000000001 from profile dev, region eu-west-1
  loaded 1 h ago, expires in 2 h 57 min
  next load in 1 h 52 min
  1. profile dev  found
";
    assert_eq!(one, expected);
    let all = text(&document(), view(None, Verbosity::Verbose));
    assert!(
        all.contains(expected) && all.contains("\n\nhost: failing\n  imds fails (3 times, first 1 min ago): GET"),
        "{all}"
    );
}

#[test]
fn shows_one_identity_or_says_which_there_are() {
    let one = of_identity(document(), &"dev".into()).unwrap();
    assert_eq!(one["identities"].as_object().unwrap().keys().collect::<Vec<_>>(), ["dev"]);
    let error = of_identity(document(), &"deb".into()).unwrap_err().to_string();
    assert!(error.starts_with("the daemon has no identity deb; did you mean dev? it has: dev, host,"), "{error}");
}

#[test]
fn shows_switch_and_grants() {
    let document = json!({
        "version": "1", "now": "2026-11-23T16:00:00Z", "started": "2026-11-23T14:00:00Z",
        "switch": { "identity": "prod", "until": "2026-11-23T17:00:00Z" },
        "grants": [{ "name": "build", "identity": "dev", "expires": "2026-11-23T16:30:00Z", "policy_sha256": null }],
    });
    let expected = "credenza 1, started 2 h ago\ndefault is identity prod; that ends in 1 h\n\
                    grant build of identity dev ends in 30 min\n";
    assert_eq!(text(&document, view(None, Verbosity::Normal)), expected);
    let without_end = json!({ "switch": { "identity": "\u{1b}p", "until": null }, "grants": null });
    assert!(
        text(&without_end, view(None, Verbosity::Normal))
            .ends_with("default is identity \\u{1b}p, by `credenza use`\n")
    );
}

#[test]
fn shows_login_end_with_the_command() {
    let of = |ends: &str, command: Value| {
        let identity = json!({ "state": "available", "login_ends": ends, "login_command": command });
        let document = json!({ "now": "2026-11-23T16:00:00Z", "identities": { "a": identity } });
        let last = |verbosity| text(&document, view(None, verbosity)).lines().last().unwrap().to_owned();
        (last(Verbosity::Verbose), last(Verbosity::Normal))
    };
    let (details, line) = of("2026-11-23T16:30:00Z", "credenza login --sso-session work".into());
    assert_eq!(details, "  the login ends in 30 min; to log in again, run: credenza login --sso-session work");
    assert_eq!(line, "a         available  the login ends in 30m; run: credenza login --sso-session work");
    let (details, line) = of("2026-11-23T15:30:00Z", "aws login --profile dev".into());
    assert_eq!(details, "  the login ended 30 min ago; to log in again, run: aws login --profile dev");
    assert_eq!(line, "a         available  the login has ended; run: aws login --profile dev");
    let (_, line) = of("2026-11-23T18:00:00Z", Value::Null);
    assert_eq!(line, "a         available");
}

#[test]
fn formats_any_json() {
    let document = json!({ "identities": { "a": { "notice": "\u{1b}[2Jx", "source": "\u{202e}" } } });
    let shown = text(&document, view(None, Verbosity::Verbose));
    assert!(shown.contains("\\u{1b}[2Jx") && shown.contains("\\u{202e}"));
    for odd in [json!(null), json!([1]), json!({ "identities": { "a": 1 }, "now": 7 })] {
        assert!(text(&odd, view(Some(40), Verbosity::Normal)).starts_with("credenza"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_line_is_too_wide_and_foreign_text_is_escaped(
        name in "(?s).{1,40}",
        words in proptest::collection::vec("(?s).{0,40}", 7),
        state in prop_oneof!["available", "failing", "login required", "refresh failing", "(?s).{0,20}"],
        width in 20_usize..140,
        verbosity in prop_oneof![Just(Verbosity::Quiet), Just(Verbosity::Normal), Just(Verbosity::Verbose)],
    ) {
        let identity = json!({
            "state": state, "source": words[0], "access_key_id": words[1], "login_command": words[2], "notice": words[3],
            "expiration": "2026-11-23T18:57:05Z", "loaded": "2026-11-23T15:00:00Z", "region": words[4],
            "failure": { "source": words[5], "message": words[6], "reason": words[6] },
            "sources": [{ "source": words[0], "said": words[1], "reason": words[2] }],
        });
        let mut document = document();
        document["identities"][&*name] = identity;
        document["configuration_refused"] = words[3].clone().into();
        document["switch"] = json!({ "identity": words[4] });
        let text = text(&document, view(Some(width), verbosity));
        for line in text.lines() {
            prop_assert!(width_of_painted(line) <= width, "{line:?}");
            prop_assert_eq!(Escaped(line).to_string(), line);
        }
    }
}
