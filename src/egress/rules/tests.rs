//! Verdicts with their reasons, as a table and over any rules.

use proptest::prelude::*;

use super::*;

pub(in crate::egress) fn rules(allow: &[&str], deny: &[&str]) -> Rules {
    let grants = |texts: &[&str]| -> Vec<Grant> {
        let read = |text: &&str| text.parse::<Destination>().unwrap().into();
        texts.iter().map(read).collect()
    };
    Rules::new(grants(allow), grants(deny)).unwrap()
}

fn anothers(_: IpAddr) -> Whose {
    Whose::Another
}

#[test]
fn a_name_leads_to_the_host_itself_only_where_a_rule_names_that_address() {
    let judged = |allow: &[&str], address: &str| {
        let judge = |rules: &Rules| {
            // The kernel is asked for the address that will be dialled.
            let own = |address: IpAddr| match address.to_canonical() == address {
                true => Whose::Own,
                false => Whose::Another,
            };
            rules.judge(Protocol::Tcp, address.parse().unwrap(), 443, own)
        };
        let rules = rules(allow, &[]);
        let learning = rules.clone().learning(Some(Learning::Permitting));
        assert_eq!(judge(&rules), judge(&learning));
        judge(&rules)
    };
    for address in ["11.0.0.1", "::ffff:11.0.0.1"] {
        let refusal = judged(&["web.example:443", "11.0.0.1:80"], address).unwrap_err();
        let said = "11.0.0.1 is an address of this host itself";
        assert_eq!(refusal.to_string(), said);
        assert_eq!(refusal.flag().unwrap(), "--allow 11.0.0.1:443");
        for rule in ["11.0.0.1:443", "11.0.0.0/8:443"] {
            assert_eq!(judged(&[rule, "web.example:443"], address), Ok(()));
        }
    }
    // One of a block needs a rule within that, whosever it is.
    assert!(judged(&["0.0.0.0/0:443"], "10.0.0.1").is_err());
    assert_eq!(judged(&["10.0.0.0/8:443"], "10.0.0.1"), Ok(()));
}

/// `udp://` or nothing, host, port.
fn ask(rules: &Rules, what: &str) -> Verdict {
    let (protocol, rest) = match what.strip_prefix("udp://") {
        Some(rest) => (Protocol::Udp, rest),
        None => (Protocol::Tcp, what),
    };
    let (host, port) = rest.rsplit_once(':').unwrap();
    let asked = Asked::from_ascii(host.as_bytes()).unwrap();
    rules.decide(protocol, &asked, port.parse().unwrap())
}

/// The rule, or the reason with the flag.
type Expected = Result<&'static str, (&'static str, Option<&'static str>)>;

#[test]
fn while_learning_what_a_rule_for_one_host_could_allow_is_permitted() {
    let open = ["11.1.0.2:7", "udp://[2a00:1::2]:9", "web.example:443"];
    let closed = [
        "10.0.0.1:7",
        "127.0.0.1:7",
        "[::1]:7",
        "169.254.169.254:80",
        "[64:ff9b::7f00:1]:7",
        "0.0.0.0:7",
        "198.18.0.16:7",
        "224.0.0.1:7",
        "localhost:7",
        "x.localhost:7",
        "11.1.0.2:0",
        "denied.example:443",
        "11.1.0.9:7",
    ];
    let deny = ["denied.example:443", "11.1.0.9:1-65535"];
    let learning = |learning| rules(&["10.9.9.9:7"], &deny).learning(learning);
    let permitting = learning(Some(Learning::Permitting));
    let denying = learning(Some(Learning::Denying));
    for what in open {
        assert!(ask(&permitting, what).is_ok(), "{what}");
        assert!(ask(&denying, what).is_err(), "{what}");
        assert!(ask(&learning(None), what).is_err(), "{what}");
    }
    for what in closed {
        assert!(ask(&permitting, what).is_err(), "{what}");
    }
    for rules in [&permitting, &denying] {
        assert!(rules.allow_hosts());
        assert!(ask(rules, "10.9.9.9:7").is_ok());
    }
    // A name is looked up for it, and what that gives is judged as ever.
    let name = |text| Name::parse(text).unwrap();
    assert!(permitting.permit(&name("web.example")).is_some());
    assert!(permitting.permit(&name("localhost")).is_none());
    assert!(permitting.permit(&name("denied.example")).is_some());
    let whole = ["whole.example:1-65535", "udp://whole.example:1-65535"];
    let whole = rules(&[], &whole).learning(Some(Learning::Permitting));
    assert!(whole.permit(&name("whole.example")).is_none());
    assert!(denying.permit(&name("web.example")).is_none());
    let judged = |text: &str| permitting.judge(Protocol::Tcp, text.parse().unwrap(), 7, anothers);
    assert!(judged("11.1.0.2").is_ok() && judged("10.9.9.9").is_ok());
    assert!(judged("10.0.0.1").is_err() && judged("169.254.169.254").is_err());
}

#[test]
fn the_verdict_comes_with_rule_or_reason_and_flag() {
    let rules = rules(
        &[
            "api.example.com:443",
            "*.example.org:80,443",
            "udp://ntp.example:123",
            "10.1.0.0/16:5432",
            "0.0.0.0/0:22",
            "[::1]:80",
        ],
        &["bad.example.org:1-65535", "10.1.2.3:5432", "9.9.9.9:22"],
    );
    let table: &[(&str, Expected)] = &[
        ("api.example.com:443", Ok("api.example.com:443")),
        ("API.EXAMPLE.COM.:443", Ok("api.example.com:443")),
        (
            "api.example.com:80",
            Err((
                "only tcp port 443 allowed there",
                Some("--allow api.example.com:80"),
            )),
        ),
        (
            "udp://api.example.com:443",
            Err((
                "only tcp port 443 allowed there",
                Some("--allow udp://api.example.com:443"),
            )),
        ),
        (
            "notapi.example.com:443",
            Err(("no rule allows it", Some("--allow notapi.example.com:443"))),
        ),
        (
            "api.example.com.evil:443",
            Err((
                "no rule allows it",
                Some("--allow api.example.com.evil:443"),
            )),
        ),
        ("a.b.example.org:80", Ok("*.example.org:80,443")),
        (
            "example.org:80",
            Err(("no rule allows it", Some("--allow example.org:80"))),
        ),
        (
            "bad.example.org:443",
            Err(("denied by bad.example.org:1-65535", None)),
        ),
        ("udp://ntp.example:123", Ok("udp://ntp.example:123")),
        ("10.1.9.9:5432", Ok("10.1.0.0/16:5432")),
        ("::ffff:10.1.9.9:5432", Ok("10.1.0.0/16:5432")),
        ("10.1.2.3:5432", Err(("denied by 10.1.2.3:5432", None))),
        (
            "::ffff:10.1.2.3:5432",
            Err(("denied by 10.1.2.3:5432", None)),
        ),
        (
            "10.2.0.1:22",
            Err((
                "10.2.0.1 is an address of a private network",
                Some("--allow 10.2.0.1:22"),
            )),
        ),
        ("8.8.8.8:22", Ok("0.0.0.0/0:22")),
        ("9.9.9.9:22", Err(("denied by 9.9.9.9:22", None))),
        (
            "8.8.8.8:23",
            Err(("only tcp port 22 allowed there", Some("--allow 8.8.8.8:23"))),
        ),
        (
            "169.254.169.254:22",
            Err((
                "169.254.169.254 is a cloud's metadata service",
                Some("--allow 169.254.169.254:22"),
            )),
        ),
        (
            "127.0.0.1:22",
            Err((
                "127.0.0.1 is the host's own loopback",
                Some("--allow 127.0.0.1:22"),
            )),
        ),
        ("0.0.0.0:22", Err(("0.0.0.0 is no host's address", None))),
        (
            "198.18.0.7:22",
            Err(("198.18.0.7 is a stand-in for a name inside sandboxes", None)),
        ),
        ("[::1]:80", Ok("[::1]:80")),
        (
            "2606::1:80",
            Err(("no rule allows it", Some("--allow [2606::1]:80"))),
        ),
        ("localhost:80", Err(("no rule allows it", None))),
        ("8.8.8.8:0", Err(("only tcp port 22 allowed there", None))),
    ];
    for (what, expected) in table {
        let got = ask(&rules, what);
        match (&got, expected) {
            (Ok(allowed), Ok(rule)) => assert_eq!(&*allowed.rule, *rule, "{what}"),
            (Err(refusal), Err((reason, flag))) => {
                assert_eq!(refusal.to_string(), *reason, "{what}");
                assert_eq!(refusal.flag().as_deref(), *flag, "{what}");
                if let Some(remedy) = &refusal.remedy {
                    let destination: Destination = remedy.parse().unwrap();
                    let wider = Rules::new([destination.into()], []).unwrap();
                    assert!(
                        ask(&wider, what).is_ok(),
                        "{what}: the remedy does not help"
                    );
                }
            }
            _ => panic!("{what}: {got:?}"),
        }
    }
}

#[test]
fn each_address_of_a_name_is_judged() {
    let rules = rules(
        &["app.example:443", "db.example:5432", "10.0.0.5:5432"],
        &["6.6.6.0/24:443"],
    );
    let judge = |address: &str, port| {
        let judged = rules.judge(Protocol::Tcp, address.parse().unwrap(), port, anothers);
        judged.map_err(|refusal| refusal.to_string())
    };
    assert_eq!(judge("1.2.3.4", 443), Ok(()));
    assert_eq!(judge("2606::1", 443), Ok(()));
    assert_eq!(judge("10.0.0.5", 5432), Ok(()));
    for (address, port, reason) in [
        ("10.0.0.5", 443, "private"),
        ("10.0.0.6", 5432, "private"),
        ("127.0.0.1", 443, "loopback"),
        ("::1", 443, "loopback"),
        ("::ffff:127.0.0.1", 443, "loopback"),
        ("169.254.169.254", 443, "metadata"),
        ("64:ff9b::7f00:1", 443, "translation"),
        ("6.6.6.6", 443, "denied by 6.6.6.0/24:443"),
        ("::ffff:6.6.6.6", 443, "denied by 6.6.6.0/24:443"),
        ("64:ff9b::606:606", 443, "denied by 6.6.6.0/24:443"),
        ("0.0.0.0", 443, "no host's"),
    ] {
        let error = judge(address, port).unwrap_err();
        assert!(error.contains(reason), "{address}: {error}");
    }
}

#[test]
fn a_name_is_looked_up_only_where_a_port_is_left() {
    let rules = rules(
        &[
            "a.example:443",
            "b.example:80,443",
            "*.c.example:1",
            "9.9.9.9:53",
        ],
        &[
            "a.example:443",
            "b.example:80",
            "no.c.example:1-65535",
            "udp://b.example:443",
        ],
    );
    let permitted = |name: &str| rules.permit(&Name::parse(name).unwrap()).is_some();
    assert!(!permitted("a.example"));
    assert!(permitted("b.example"));
    assert!(permitted("x.c.example"));
    assert!(!permitted("c.example"));
    assert!(!permitted("no.c.example"));
    assert!(!permitted("secret.b.example"));
    let names: Vec<String> = rules.names().iter().map(|p| p.name().to_string()).collect();
    assert_eq!(names, ["b.example"]);
    let asked = Asked::Name(Name::parse("b.example").unwrap());
    assert_eq!(rules.ports(Protocol::Tcp, &asked).to_string(), "443");
}

#[test]
fn unix_sockets_are_named_by_their_whole_path() {
    let rules = rules(&["unix:/run/a", "unix:/run/b"], &["unix:/run/b"]);
    assert!(rules.decide_unix(Path::new("/run/a")).is_ok());
    let refusal = |path| rules.decide_unix(Path::new(path)).unwrap_err();
    assert_eq!(refusal("/run/b").to_string(), "denied by unix:/run/b");
    assert_eq!(
        refusal("/run/a/x").flag(),
        Some("--allow unix:/run/a/x".into())
    );
    assert_eq!(
        rules.unix_sockets().collect::<Vec<_>>(),
        [Path::new("/run/a")]
    );
    assert!(!rules.allow_hosts() && !rules.allow_nothing());
}

#[test]
fn a_rule_that_can_match_nothing_is_refused() {
    for text in [
        "0.0.0.7:80",
        "198.18.0.1:80",
        "[fd73:616e:6462:6f78::1]:80",
        "@x",
        "[::1:2]:3",
    ] {
        let destination: Destination = text.parse().unwrap();
        assert!(Rules::new([destination.into()], []).is_err(), "{text}");
    }
}

fn some_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        (0u8..=255, 0u8..=255).prop_map(|(c, d)| IpAddr::from([169, 254, c, d])),
        any::<[u8; 4]>().prop_map(|[a, b, c, d]| {
            let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, a, b, c, d];
            IpAddr::from(mapped)
        }),
    ]
}

proptest! {
    #[test]
    fn no_wide_rule_opens_a_special_address(address in some_address(), port in 1u16..) {
        let wide = rules(&["0.0.0.0/0:1-65535", "[::/0]:1-65535", "*.com:1-65535"], &[]);
        let asked = Asked::Address(address.to_canonical());
        let special = special::block(address).is_some();
        prop_assert_eq!(wide.decide(Protocol::Tcp, &asked, port).is_err(), special);
        prop_assert_eq!(wide.judge(Protocol::Tcp, address, port, anothers).is_err(), special);
    }

    #[test]
    fn every_spelling_of_an_address_has_one_verdict(octets in any::<[u8; 4]>(), port in 1u16..) {
        let rules = rules(&["10.0.0.0/8:1-40000", "0.0.0.0/0:80"], &["128.0.0.0/1:80"]);
        let v4 = IpAddr::from(octets);
        let [a, b, c, d] = octets;
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, a, b, c, d]);
        prop_assert_eq!(
            rules.judge(Protocol::Tcp, v4, port, anothers),
            rules.judge(Protocol::Tcp, mapped, port, anothers)
        );
    }

    #[test]
    fn deny_beats_allow(ports in (1u16..500, 1u16..500), port in 1u16..500) {
        let (first, last) = (ports.0.min(ports.1), ports.0.max(ports.1));
        let range = format!("a.example:{first}-{last}");
        let rules = rules(&["a.example:1-65535"], &[&range]);
        let asked = Asked::Name(Name::parse("a.example").unwrap());
        let denied = (first..=last).contains(&port);
        prop_assert_eq!(rules.decide(Protocol::Tcp, &asked, port).is_err(), denied);
        prop_assert_eq!(rules.ports(Protocol::Tcp, &asked).contain(port), !denied);
    }
}
