//! `sandbox::netns` as a library: namespaces, links, addresses, routes by netlink; needs root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::geteuid;
use sandbox::Error;
use sandbox::netns::link::{self, Admin, Change, Kind, MacvlanMode, NewLink};
use sandbox::netns::route::{self, Family, Route, RouteKind, Rule, RuleTarget};
use sandbox::netns::sysctl::Setting;
use sandbox::netns::traffic::{self, Discipline, Shape, Shaper};
use sandbox::netns::{Connection, Firewall, LinkName, Mac, Namespace, address};

/// Whether the tests can be made: only root makes namespaces without one of users.
fn is_root(name: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        support::skip(name, "only root makes network namespaces");
    }
    root
}

fn name(text: &str) -> LinkName {
    text.parse().unwrap()
}

/// Two namespaces with a wire between them, 10.1.1.1/24 and fd00::1/64 here, .2 and ::2 there.
fn pair() -> (Namespace, Namespace) {
    let (one, other) = (
        Namespace::make_called("one").unwrap(),
        Namespace::make_called("other").unwrap(),
    );
    let wire = NewLink::veth(name("veth0"), name("veth1"))
        .peer_in(&other)
        .up();
    let (mut here, mut there) = (one.connect().unwrap(), other.connect().unwrap());
    here.perform(&[wire.request(), link::up(name("lo"))])
        .unwrap();
    there.perform(&[link::up(name("veth1"))]).unwrap();
    for (network, link, last) in [(&mut here, "veth0", 1), (&mut there, "veth1", 2)] {
        let index = network.index_of(&name(link)).unwrap();
        let v4 = format!("10.1.1.{last}/24").parse().unwrap();
        let v6 = format!("fd00::{last}/64").parse().unwrap();
        network
            .perform(&[address::add(index, v4), address::add(index, v6)])
            .unwrap();
    }
    (one, other)
}

/// Whether a connection from `from` to `address` in `to` comes about.
fn reaches(from: &Namespace, to: &Namespace, address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap();
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let port = listener.local_addr().unwrap().port();
    from.run(|| TcpStream::connect((address, port)))
        .unwrap()
        .is_ok()
}

#[test]
fn both_ends_of_a_wire_are_made_at_once_and_carry_both_families() {
    if !is_root("wire") {
        return;
    }
    let (one, other) = pair();
    assert!(reaches(&one, &other, "10.1.1.2"));
    assert!(reaches(&other, &one, "10.1.1.1"));
    assert!(reaches(&one, &other, "fd00::2"));
    let links = one.connect().unwrap().links().unwrap();
    let names: Vec<_> = links
        .iter()
        .map(|link| (link.name.as_str(), link.kind.as_str()))
        .collect();
    assert_eq!(names, [("lo", "loopback"), ("veth0", "veth")]);
    assert_eq!((links[1].admin, links[1].carrier), (Admin::Up, true));
    assert!(links[1].sent.bytes > 0 && links[1].peer_nsid.is_some());
    let found = one.connect().unwrap().addresses().unwrap();
    let texts: Vec<_> = found
        .iter()
        .map(|found| found.address.to_string())
        .collect();
    for address in ["127.0.0.1/8", "10.1.1.1/24", "fd00::1/64"] {
        assert!(
            texts.iter().any(|text| text == address),
            "{address}: {texts:?}"
        );
    }
}

#[test]
fn the_caller_never_leaves_its_namespace() {
    if !is_root("caller") {
        return;
    }
    let before = Namespace::own().unwrap().identity().unwrap();
    let fresh = Namespace::make().unwrap();
    let inside = fresh
        .run(|| Namespace::own().unwrap().identity().unwrap())
        .unwrap();
    drop(fresh.connect().unwrap());
    assert_eq!(inside, fresh.identity().unwrap());
    assert_ne!(inside, before);
    assert_eq!(Namespace::own().unwrap().identity().unwrap(), before);
}

#[test]
fn a_refusal_names_the_object_and_gives_the_kernels_words() {
    if !is_root("refusal") {
        return;
    }
    let (one, _other) = pair();
    let mut network = one.connect().unwrap();
    let far = Route::default_via("192.0.2.1".parse().unwrap());
    let error = network.perform(&[route::add(&far)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot add the route 0.0.0.0/0 via 192.0.2.1 in one: Nexthop has invalid gateway"
    );
    assert!(matches!(
        error,
        Error::Network {
            errno: Errno::ENETUNREACH,
            ..
        }
    ));
    let error = network.index_of(&name("none")).unwrap_err();
    assert_eq!(error.to_string(), "cannot find the link none in one");
    let twice = NewLink::bridge(name("veth0")).request();
    let error = network.perform(&[twice]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Network {
                errno: Errno::EEXIST,
                ..
            }
        ),
        "{error}"
    );
    // The socket goes on.
    assert!(network.links().unwrap().len() > 1);
}

#[test]
fn the_first_refusal_of_a_long_batch_is_told() {
    if !is_root("batch") {
        return;
    }
    let namespace = Namespace::make_called("batch").unwrap();
    let mut network = namespace.connect().unwrap();
    let bridge =
        |number: u32| NewLink::bridge(name(&format!("br{number}"))).with_index(100 + number);
    let mut requests: Vec<_> = (0..150).map(|number| bridge(number).request()).collect();
    network.perform(&requests).unwrap();
    assert_eq!(network.links().unwrap().len(), 151);
    assert_eq!(network.index_of(&name("br149")).unwrap(), 249);
    requests.rotate_left(70);
    requests.insert(0, bridge(150).request());
    let error = network.perform(&requests).unwrap_err();
    assert!(
        error.to_string().contains("br70 (bridge) in batch"),
        "{error}"
    );
}

#[test]
fn a_link_is_changed_renamed_moved_and_deleted() {
    if !is_root("change") {
        return;
    }
    let (one, other) = (Namespace::make().unwrap(), Namespace::make().unwrap());
    let (mut here, mut there) = (one.connect().unwrap(), other.connect().unwrap());
    let mac: Mac = "02:00:00:00:00:07".parse().unwrap();
    let wire = NewLink::veth(name("a"), name("b"));
    let bridge = NewLink::bridge(name("br0")).with_index(50).up();
    let change = Change {
        mtu: Some(1400),
        mac: Some(mac),
        admin: Some(Admin::Up),
        master: Some(50),
        ..Change::default()
    };
    here.perform(&[
        wire.request(),
        bridge.request(),
        link::set(name("a"), &change),
    ])
    .unwrap();
    let found = here.link(name("a")).unwrap();
    assert_eq!(
        (found.mtu, found.mac, found.master, found.admin),
        (1400, Some(mac), Some(50), Admin::Up)
    );
    here.rename(name("b"), &name("c")).unwrap();
    let moved = Change {
        namespace: Some(other.clone()),
        ..Change::default()
    };
    here.perform(&[link::set(name("c"), &moved)]).unwrap();
    assert_eq!(there.link(name("c")).unwrap().kind, "veth");
    there.perform(&[link::delete(name("c"))]).unwrap();
    assert!(
        here.link(name("a")).is_err(),
        "a wire has both its ends or none"
    );
}

#[test]
fn a_macvlan_lies_on_a_wire_and_a_kind_that_this_kernel_lacks_is_told() {
    if !is_root("macvlan") {
        return;
    }
    let (one, _other) = pair();
    let mut network = one.connect().unwrap();
    let parent = network.index_of(&name("veth0")).unwrap();
    let kind = Kind::Macvlan {
        parent,
        mode: MacvlanMode::Bridge,
    };
    network
        .perform(&[NewLink::new(name("mv0"), kind).request()])
        .unwrap();
    assert_eq!(network.link(name("mv0")).unwrap().kind, "macvlan");
    for kind in [Kind::Dummy, Kind::Vlan { parent, tag: 7 }] {
        let made = network.perform(&[NewLink::new(name("x0"), kind).request()]);
        match made {
            Ok(()) => network.perform(&[link::delete(name("x0"))]).unwrap(),
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        Error::Network {
                            errno: Errno::EOPNOTSUPP,
                            ..
                        }
                    ),
                    "{error}"
                );
                assert!(
                    error
                        .hint()
                        .unwrap()
                        .contains("this kernel has no such thing")
                );
            }
        }
    }
}

#[test]
fn routes_rules_and_neighbours_of_both_families_come_and_go() {
    if !is_root("routes") {
        return;
    }
    let (one, _other) = pair();
    let mut network = one.connect().unwrap();
    let link = network.index_of(&name("veth0")).unwrap();
    let mut plain = Route::to("10.9.0.0/16".parse().unwrap()).via("10.1.1.2".parse().unwrap());
    plain.metric = Some(7);
    let six = Route::default_via("fd00::2".parse().unwrap());
    let mut table = Route::to("10.8.0.0/16".parse().unwrap()).by_link(link);
    table.table = 1000;
    let mut refused = Route::to("10.7.0.0/16".parse().unwrap());
    refused.kind = RouteKind::Unreachable;
    let mut across = Route::to("10.6.0.0/16".parse().unwrap()).via("fd00::2".parse().unwrap());
    across.link = Some(link);
    let all = [plain, six, table, refused, across];
    let added: Vec<_> = all.iter().map(route::add).collect();
    network.perform(&added).unwrap();
    let found = network.routes().unwrap();
    for wanted in &all {
        let there = found.iter().any(|found| {
            found.destination == wanted.destination
                && found.kind == wanted.kind
                && found.via == wanted.via
                && found.table == wanted.table
        });
        assert!(there, "{wanted}: {found:?}");
    }
    let deleted: Vec<_> = all.iter().map(route::delete).collect();
    network.perform(&deleted).unwrap();
    let left = network.routes().unwrap();
    assert!(
        all.iter().all(|gone| !left
            .iter()
            .any(|left| left.destination == gone.destination && left.table == gone.table)),
        "{left:?}"
    );

    for (family, from) in [(Family::V4, "10.5.0.0/16"), (Family::V6, "fd05::/64")] {
        let mut rule = Rule::new(family, RuleTarget::Table(1000));
        rule.priority = Some(500);
        rule.from = Some(from.parse().unwrap());
        network.perform(&[route::add_rule(&rule)]).unwrap();
        assert!(network.rules().unwrap().contains(&rule), "{rule}");
        network.perform(&[route::delete_rule(&rule)]).unwrap();
        assert!(!network.rules().unwrap().contains(&rule), "{rule}");
    }

    let (neighbour, mac): (IpAddr, Mac) = (
        "10.1.1.77".parse().unwrap(),
        "02:00:00:00:00:77".parse().unwrap(),
    );
    network
        .perform(&[route::add_neighbour(link, neighbour, mac)])
        .unwrap();
    let known = |network: &mut Connection| {
        let all = network.neighbours().unwrap();
        all.into_iter().find(|found| found.address == neighbour)
    };
    let found = known(&mut network).unwrap();
    assert_eq!((found.mac, found.state.as_str()), (Some(mac), "permanent"));
    network
        .perform(&[route::delete_neighbour(link, neighbour)])
        .unwrap();
    assert!(known(&mut network).is_none_or(|found| found.mac.is_none()));
}

#[test]
fn settings_are_the_namespaces_own() {
    if !is_root("sysctl") {
        return;
    }
    let (one, other) = (
        Namespace::make_called("one").unwrap(),
        Namespace::make().unwrap(),
    );
    for setting in [Setting::forwarding_v4(), Setting::forwarding_v6()] {
        one.set_sysctl(&setting, "1").unwrap();
        assert_eq!(one.sysctl(&setting).unwrap(), "1");
        assert_eq!(other.sysctl(&setting).unwrap(), "0");
    }
    let none: Setting = "net.ipv4.no_such_thing".parse().unwrap();
    let error = one.set_sysctl(&none, "1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot open /proc/sys/net/ipv4/no_such_thing in one"
    );
}

#[test]
fn nothing_outside_is_reached_from_a_fresh_namespace() {
    if !is_root("fresh") {
        return;
    }
    let fresh = Namespace::make().unwrap();
    let sent = fresh
        .run(|| {
            UdpSocket::bind("0.0.0.0:0")
                .unwrap()
                .send_to(b"x", "192.0.2.1:9")
                .unwrap_err()
        })
        .unwrap();
    assert_eq!(sent.raw_os_error(), Some(libc::ENETUNREACH));
}

fn firewall(statements: &[&str]) -> Firewall {
    statements
        .iter()
        .map(|text| text.parse::<sandbox::netns::firewall::Statement>().unwrap())
        .collect()
}

/// Whether nft(8) is here.
fn has_nft(name: &str) -> bool {
    let here = sandbox::netns::nft::program().is_some();
    if !here {
        support::skip(name, "there is no nft(8)");
    }
    here
}

#[test]
fn a_firewall_holds_in_its_namespace_and_is_replaced_as_a_whole() {
    if !is_root("firewall") || !has_nft("firewall") {
        return;
    }
    let (one, other) = pair();
    assert!(reaches(&one, &other, "10.1.1.2"), "the control");
    other
        .set_firewall(&firewall(&[
            "default input drop",
            "allow input tcp from fd00::/64",
        ]))
        .unwrap();
    let dropped = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        let listener = other
            .run(|| TcpListener::bind((address, 0)).unwrap())
            .unwrap();
        let at = listener.local_addr().unwrap();
        let limit = std::time::Duration::from_millis(300);
        one.run(|| TcpStream::connect_timeout(&at, limit))
            .unwrap()
            .is_err()
    };
    assert!(dropped("10.1.1.2"));
    assert!(
        !dropped("fd00::2"),
        "neighbours are found behind a firewall that drops"
    );
    assert!(reaches(&other, &one, "10.1.1.1"), "answers pass");
    // A table of somebody else's there stays; ours is replaced, and then taken away.
    other
        .apply_nft("table ip theirs {\n chain c {\n }\n}\n")
        .unwrap();
    other
        .set_firewall(&firewall(&["reject input udp"]))
        .unwrap();
    assert!(!dropped("10.1.1.2"));
    other.clear_firewall().unwrap();
    other.clear_firewall().unwrap();
    let listed = other.list_nft().unwrap();
    assert!(
        listed.contains("table ip theirs") && !listed.contains("sandbox"),
        "{listed}"
    );
}

#[test]
fn a_script_that_is_refused_changes_nothing() {
    if !is_root("refused script") || !has_nft("refused script") {
        return;
    }
    let namespace = Namespace::make_called("guarded").unwrap();
    namespace
        .set_firewall(&firewall(&["drop input tcp 80"]))
        .unwrap();
    let before = namespace.list_nft().unwrap();
    let error = namespace
        .apply_nft("flush ruleset\nadd rule inet none none accept\n")
        .unwrap_err();
    let said = error.to_string();
    assert!(
        said.starts_with("cannot apply the nft script of guarded: 2:"),
        "{said}"
    );
    assert_eq!(namespace.list_nft().unwrap(), before);
}

#[test]
fn the_rules_of_two_namespaces_do_not_touch_each_other() {
    if !is_root("rules apart") || !has_nft("rules apart") {
        return;
    }
    // "The host" is a namespace here too: the tests leave the real one's rules alone.
    let (host, inner) = pair();
    host.set_firewall(&firewall(&["drop input udp 9"])).unwrap();
    let before = host.list_nft().unwrap();
    inner
        .set_firewall(&firewall(&["default forward drop", "masquerade out veth1"]))
        .unwrap();
    inner.apply_nft("flush ruleset\n").unwrap();
    assert_eq!(host.list_nft().unwrap(), before);
    inner
        .set_firewall(&firewall(&["drop input tcp 7"]))
        .unwrap();
    let inside = inner.list_nft().unwrap();
    host.clear_firewall().unwrap();
    assert_eq!(inner.list_nft().unwrap(), inside);
}

/// The addresses of a way out: inner -- router -- outside, which knows no way back.
struct Way {
    inner: &'static str,
    network: &'static str,
    gateway: &'static str,
    router: &'static str,
    outside: &'static str,
    bits: u8,
    forwarding: Setting,
}

#[test]
fn the_outside_is_reached_behind_one_address_and_a_port_leads_in() {
    if !is_root("nat") || !has_nft("nat") {
        return;
    }
    for way in [
        Way {
            inner: "10.1.1.1",
            network: "10.1.1.0/24",
            gateway: "10.1.1.2",
            router: "192.0.2.1",
            outside: "192.0.2.2",
            bits: 24,
            forwarding: Setting::forwarding_v4(),
        },
        Way {
            inner: "fd00::1",
            network: "fd00::/64",
            gateway: "fd00::2",
            router: "2001:db8::1",
            outside: "2001:db8::2",
            bits: 64,
            forwarding: Setting::forwarding_v6(),
        },
    ] {
        a_way_out_and_in(&way);
    }
}

fn a_way_out_and_in(way: &Way) {
    let end = |address: &str| format!("{address}/{}", way.bits).parse().unwrap();
    let socket = |address: &str, port| (address.parse::<IpAddr>().unwrap(), port);
    let (inner, router) = pair();
    let outside = Namespace::make_called("outside").unwrap();
    let mut network = router.connect().unwrap();
    let wire = NewLink::veth(name("up"), name("eth0"))
        .peer_in(&outside)
        .up();
    network.perform(&[wire.request()]).unwrap();
    let up = network.index_of(&name("up")).unwrap();
    network
        .perform(&[address::add(up, end(way.router))])
        .unwrap();
    let mut far = outside.connect().unwrap();
    let eth0 = far.index_of(&name("eth0")).unwrap();
    far.perform(&[link::up(eth0), address::add(eth0, end(way.outside))])
        .unwrap();
    let default = Route::default_via(way.gateway.parse().unwrap());
    inner
        .connect()
        .unwrap()
        .perform(&[route::add(&default)])
        .unwrap();
    router.set_sysctl(&way.forwarding, "1").unwrap();
    // Long where something must come, as the machine may be busy; short where nothing may.
    let (patience, limit) = (Duration::from_secs(20), Duration::from_millis(300));
    let listener = outside
        .run(|| TcpListener::bind(socket(way.outside, 0)).unwrap())
        .unwrap();
    let at = listener.local_addr().unwrap();
    let try_out = |limit| {
        inner
            .run(move || TcpStream::connect_timeout(&at, limit))
            .unwrap()
    };
    assert!(try_out(limit).is_err(), "the control: there is no way back");
    let inside: SocketAddr = socket(way.inner, 80).into();
    router
        .set_firewall(&firewall(&[
            "default forward drop",
            "allow forward in veth1 out up",
            &format!("masquerade out up from {}", way.network),
            &format!("dnat tcp 8080 to {inside} in up"),
        ]))
        .unwrap();
    drop(try_out(patience).unwrap());
    let (_, seen) = listener.accept().unwrap();
    assert_eq!(seen.ip().to_string(), way.router);
    let inside = inner.run(|| TcpListener::bind(inside).unwrap()).unwrap();
    let door = socket(way.router, 8080).into();
    drop(
        outside
            .run(|| TcpStream::connect_timeout(&door, patience))
            .unwrap()
            .unwrap(),
    );
    let (_, seen) = inside.accept().unwrap();
    assert_eq!(seen.ip().to_string(), way.outside);
}

#[test]
fn a_rate_holds_and_is_taken_away() {
    if !is_root("rate") {
        return;
    }
    let (one, other) = pair();
    let mut network = one.connect().unwrap();
    let link = network.index_of(&name("veth0")).unwrap();
    let slow = |shaper| Shape {
        rate: Some("4mbit".parse().unwrap()),
        shaper,
        ..Shape::default()
    };
    // 200 KiB, of which 64 go at once: what is left takes a quarter of a second at 4 Mbit/s.
    let took = || {
        let listener = other
            .run(|| TcpListener::bind("10.1.1.2:0").unwrap())
            .unwrap();
        let at = listener.local_addr().unwrap();
        let reader = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap()
        });
        let began = std::time::Instant::now();
        let mut stream = one.run(|| TcpStream::connect(at)).unwrap().unwrap();
        std::io::Write::write_all(&mut stream, &[0; 200 * 1024]).unwrap();
        drop(stream);
        assert_eq!(reader.join().unwrap(), 200 * 1024);
        began.elapsed()
    };
    let by_tbf = traffic::shape(link, &slow(Shaper::Tbf));
    network.perform(&by_tbf).unwrap();
    assert!(took().as_millis() > 200);
    if Discipline::Htb.is_there().unwrap() {
        // In place of the other one, and again with another rate in place of itself.
        for rate in ["1000gbit", "4mbit"] {
            let by_htb = Shape {
                rate: Some(rate.parse().unwrap()),
                ..slow(Shaper::Htb)
            };
            network.perform(&traffic::shape(link, &by_htb)).unwrap();
        }
        assert!(took().as_millis() > 200);
        network.perform(&by_tbf).unwrap();
        let by_htb = traffic::shape(link, &slow(Shaper::Htb));
        network.perform(&by_htb).unwrap();
    } else {
        support::skip("a rate by htb", Discipline::Htb.lack());
    }
    network
        .perform(&[traffic::clear(link), traffic::clear(link)])
        .unwrap();
    assert!(took().as_millis() < 200);
}

#[test]
fn delay_and_loss_are_had_where_the_kernel_has_them() {
    if !is_root("netem") {
        return;
    }
    let (one, other) = pair();
    let mut network = one.connect().unwrap();
    let link = network.index_of(&name("veth0")).unwrap();
    let late = Shape {
        delay: Some(std::time::Duration::from_millis(50)),
        rate: Some("1gbit".parse().unwrap()),
        ..Shape::default()
    };
    let shaped = network.perform(&traffic::shape(link, &late));
    if !Discipline::Netem.is_there().unwrap() {
        let said = shaped.unwrap_err().to_string();
        assert!(
            said.contains("(netem) in one: Specified qdisc kind is unknown"),
            "{said}"
        );
        support::say(Discipline::Netem.lack());
        return;
    }
    shaped.unwrap();
    let began = std::time::Instant::now();
    assert!(reaches(&one, &other, "10.1.1.2"));
    assert!(began.elapsed().as_millis() >= 50);
    let lossy = Shape {
        loss: Some("100%".parse().unwrap()),
        ..Shape::default()
    };
    network.perform(&traffic::shape(link, &lossy)).unwrap();
    let limit = std::time::Duration::from_millis(300);
    let listener = other
        .run(|| TcpListener::bind("10.1.1.2:0").unwrap())
        .unwrap();
    let at = listener.local_addr().unwrap();
    assert!(
        one.run(|| TcpStream::connect_timeout(&at, limit))
            .unwrap()
            .is_err()
    );
}
