//! `sandbox::netns` as a library: namespaces, links, addresses, routes by netlink; needs root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};

use nix::errno::Errno;
use nix::unistd::geteuid;
use sandbox::Error;
use sandbox::netns::link::{self, Admin, Change, Kind, MacvlanMode, NewLink};
use sandbox::netns::route::{self, Family, Route, RouteKind, Rule, RuleTarget};
use sandbox::netns::sysctl::Setting;
use sandbox::netns::{Connection, LinkName, Mac, Namespace, address};

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
