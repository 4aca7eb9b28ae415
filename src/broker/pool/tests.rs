//! Cases, each by its name; [`world`] has what holds whatever happens.

mod world;

use super::*;

const BACK_OFF: BackOff = BackOff {
    first: Duration::from_millis(50),
    most: Duration::from_millis(300),
    healthy: Duration::from_secs(5),
};

fn settings(workers: usize) -> Settings {
    Settings {
        workers,
        most_credits: 64,
        hello_within: Duration::from_secs(30),
        drain_within: Duration::from_secs(20),
        back_off: BACK_OFF,
    }
}

/// A pool whose workers have said hello, with these credits.
fn ready(credits: &[u32]) -> (Pool, Vec<WorkerId>, Instant) {
    let now = Instant::now();
    let mut pool = Pool::new(settings(credits.len()), now);
    let mut workers = Vec::new();
    for &credits in credits {
        let worker = pool.due(now).unwrap();
        assert_eq!(pool.hello(worker, credits, now), Ok(None));
        workers.push(worker);
    }
    assert_eq!(pool.due(now), None);
    (pool, workers, now)
}

/// Accept one more and say who gets it.
fn one(pool: &mut Pool) -> Option<(WorkerId, u64)> {
    let id = pool.admit();
    match pool.assign().as_slice() {
        [] => None,
        [(worker, ids)] if *ids == [id] => Some((*worker, id)),
        other => panic!("{other:?}"),
    }
}

fn phase(pool: &Pool, worker: WorkerId) -> Option<Phase> {
    pool.loads()
        .find(|load| load.worker == worker)
        .map(|load| load.phase)
}

#[test]
fn what_a_worker_leaves_in_its_channel_goes_to_another() {
    let (mut pool, workers, now) = ready(&[2, 2]);
    let (first, taken) = one(&mut pool).unwrap();
    let (second, other) = one(&mut pool).unwrap();
    assert_eq!([first, second], workers[..]);
    let (third, left) = one(&mut pool).unwrap();
    assert_eq!(third, first);
    // It has one, which may be what keeps it from the next.
    assert_eq!(pool.untaken(first, &[left]), Busy::Yes);
    assert_eq!(pool.assign(), [(second, vec![left])]);
    assert_eq!(pool.admit(), left + 1);
    assert_eq!(pool.assign(), [], "it gets no more");
    pool.set_full(first, Full::No);
    assert_eq!(pool.assign(), [(first, vec![left + 1])]);
    assert_eq!(pool.done(first, &[taken], 2, now), Ok(()));
    // It has none, and does not take the next.
    assert_eq!(pool.untaken(first, &[left + 1]), Busy::No);
    assert_eq!(pool.done(second, &[other, left], 2, now), Ok(()));
    assert_eq!(pool.assign(), [(second, vec![left + 1])]);
}

#[test]
fn one_that_never_said_hello_can_be_asked_to_finish() {
    let now = Instant::now();
    let mut pool = Pool::new(settings(1), now);
    let worker = pool.due(now).unwrap();
    pool.retire(worker, now);
    assert_eq!(phase(&pool, worker), Some(Phase::Draining));
    assert_eq!(pool.replace_all(now), []);
    let successor = pool.due(now).unwrap();
    assert_eq!(pool.ended(worker, &[], now).again, None);
    assert_eq!(pool.hello(successor, 0, now), Ok(None));
}

#[test]
fn the_least_loaded_gets_the_next_and_of_equals_the_one_idle_for_longest() {
    let (mut pool, w, now) = ready(&[8, 8, 8]);
    let order: Vec<_> = (0..6).map(|_| one(&mut pool).unwrap()).collect();
    let to: Vec<_> = order.iter().map(|(worker, _)| *worker).collect();
    assert_eq!(to, [w[0], w[1], w[2], w[0], w[1], w[2]]);
    // The second is through with one: it is the least loaded.
    pool.done(w[1], &[order[1].1], 8, now).unwrap();
    assert_eq!(one(&mut pool).unwrap().0, w[1]);
    // All have two, and the first has had nothing to do with anybody for longest.
    assert_eq!(one(&mut pool).unwrap().0, w[0]);
    assert_eq!(one(&mut pool).unwrap().0, w[2]);
}

#[test]
fn a_burst_is_spread_over_the_workers_in_few_messages() {
    let (mut pool, w, _) = ready(&[20, 20]);
    for _ in 0..40 {
        pool.admit();
    }
    let sizes: Vec<_> = pool
        .assign()
        .into_iter()
        .map(|(worker, ids)| (worker, ids.len()))
        .collect();
    assert_eq!(sizes, [(w[0], 16), (w[1], 16), (w[0], 4), (w[1], 4)]);
}

#[test]
fn nobody_gets_more_than_its_credits_and_the_rest_waits() {
    let (mut pool, w, now) = ready(&[1, 2]);
    assert_eq!(pool.room(), 3);
    assert_eq!(pool.room(), 3);
    let given: Vec<_> = (0..3).map(|_| one(&mut pool).unwrap()).collect();
    assert_eq!(pool.room(), 0);
    assert_eq!(one(&mut pool), None);
    assert_eq!((pool.waiting(), pool.room()), (1, 0));
    // What was given back goes to the one that waits, and there is no room yet.
    pool.done(w[0], &[given[0].1], 1, now).unwrap();
    assert_eq!(pool.assign(), [(w[0], vec![4])]);
    assert_eq!(pool.room(), 0);
    // A worker may change its mind, up and down.
    pool.done(w[1], &[], 5, now).unwrap();
    assert_eq!(pool.room(), 3);
    pool.done(w[1], &[], 0, now).unwrap();
    assert_eq!(pool.room(), 0);
}

#[test]
fn a_worker_that_has_not_said_hello_gets_nothing() {
    let now = Instant::now();
    let mut pool = Pool::new(settings(1), now);
    let worker = pool.due(now).unwrap();
    assert_eq!(one(&mut pool), None);
    pool.hello(worker, 1, now).unwrap();
    assert_eq!(pool.assign(), [(worker, vec![1])]);
}

#[test]
fn a_worker_that_claims_what_it_does_not_have_is_cut_off() {
    type Claim = fn(&mut Pool, WorkerId, u64, Instant) -> Result<(), Fault>;
    let table: [(&str, Claim, Fault); 6] = [
        (
            "an id that was never given out",
            |pool, worker, _, now| pool.done(worker, &[99], 4, now),
            Fault::UnknownConnection(99),
        ),
        (
            "the same id twice in a message",
            |pool, worker, id, now| pool.done(worker, &[id, id], 4, now),
            Fault::UnknownConnection(2),
        ),
        (
            "another worker's id",
            |pool, worker, _, now| pool.done(worker, &[1], 4, now),
            Fault::UnknownConnection(1),
        ),
        (
            "an id again",
            |pool, worker, id, now| {
                pool.done(worker, &[id], 4, now)?;
                pool.done(worker, &[id], 4, now)
            },
            Fault::UnknownConnection(2),
        ),
        (
            "more credits than there are",
            |pool, worker, id, now| pool.done(worker, &[id], 65, now),
            Fault::TooManyCredits {
                claimed: 65,
                most: 64,
            },
        ),
        (
            "a second hello",
            |pool, worker, _, now| pool.hello(worker, 4, now).map(drop),
            Fault::HelloTwice,
        ),
    ];
    for (what, claim, fault) in table {
        let (mut pool, w, now) = ready(&[4, 4]);
        assert_eq!(one(&mut pool), Some((w[0], 1)));
        let (_, id) = one(&mut pool).unwrap();
        // The control: what is right is taken.
        let (_, right) = (one(&mut pool), one(&mut pool).unwrap().1);
        assert_eq!(pool.done(w[1], &[right], 4, now), Ok(()), "{what}");
        assert_eq!(claim(&mut pool, w[1], id, now), Err(fault), "{what}");
        assert_eq!(phase(&pool, w[1]), Some(Phase::CutOff), "{what}");
        assert_eq!(pool.cut_off_workers().collect::<Vec<_>>(), [w[1]]);
        // From now on all goes to the other, and what it says is not heard.
        assert_eq!(one(&mut pool).unwrap().0, w[0], "{what}");
        assert_eq!(pool.done(w[1], &[77], 99, now), Ok(()), "{what}");
        assert_eq!(phase(&pool, w[0]), Some(Phase::Ready), "{what}");
    }
    let now = Instant::now();
    let mut pool = Pool::new(settings(1), now);
    let worker = pool.due(now).unwrap();
    assert_eq!(pool.done(worker, &[], 1, now), Err(Fault::NoHello));
    let mut pool = Pool::new(settings(1), now);
    let worker = pool.due(now).unwrap();
    assert!(matches!(
        pool.hello(worker, 65, now),
        Err(Fault::TooManyCredits { .. })
    ));
    assert_eq!(phase(&pool, worker), Some(Phase::CutOff));
}

#[test]
fn what_a_dead_worker_had_not_taken_goes_to_others_first() {
    let (mut pool, w, now) = ready(&[8, 2]);
    for _ in 0..6 {
        pool.admit();
    }
    assert_eq!(
        pool.assign(),
        [(w[0], vec![1, 3, 5, 6]), (w[1], vec![2, 4])]
    );
    pool.admit();
    // It had taken 1; 3, 5 and 6 were still in the channel. 2 never was there: not believed.
    let ended = pool.ended(w[0], &[3, 5, 6, 2], now);
    assert_eq!(ended.returned, [3, 5, 6]);
    assert_eq!(ended.lost, [1]);
    assert_eq!(pool.assign(), []);
    pool.done(w[1], &[2, 4], 3, now).unwrap();
    assert_eq!(pool.assign(), [(w[1], vec![3, 5, 6])]);
    assert_eq!(pool.waiting(), 1);
}

#[test]
fn a_full_channel_is_passed_over_until_it_has_space() {
    let (mut pool, w, _) = ready(&[8, 8]);
    pool.admit();
    let message = pool.assign();
    assert_eq!(message, [(w[0], vec![1])]);
    pool.unsent(w[0], &[1]);
    pool.set_full(w[0], Full::Yes);
    assert_eq!(pool.assign(), [(w[1], vec![1])]);
    assert_eq!(pool.room(), 7);
    pool.set_full(w[0], Full::No);
    assert_eq!(pool.room(), 15);
}

#[test]
fn a_worker_that_crashes_waits_longer_each_time_and_no_more_than_the_cap() {
    let mut now = Instant::now();
    let mut pool = Pool::new(settings(1), now);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let worker = pool.due(now).unwrap();
        pool.hello(worker, 1, now).unwrap();
        now += Duration::from_millis(10);
        let again = pool.ended(worker, &[], now).again.unwrap();
        waits.push((again - now).as_millis());
        assert_eq!(pool.due(now), None);
        assert_eq!(pool.wake_at(), Some(again));
        now = again;
    }
    assert_eq!(waits, [50, 100, 200, 300, 300, 300]);
    // A healthy time is forgiven at once, and the next crash begins anew.
    let worker = pool.due(now).unwrap();
    pool.hello(worker, 1, now).unwrap();
    now += BACK_OFF.healthy;
    assert_eq!(pool.ended(worker, &[], now).again, Some(now));
    let worker = pool.due(now).unwrap();
    let again = pool.ended(worker, &[], now).again.unwrap();
    assert_eq!(again - now, BACK_OFF.first);
    assert_eq!(BACK_OFF.after(u32::MAX), BACK_OFF.most);
}

#[test]
fn the_document_says_the_defaults() {
    let page = include_str!("../../../docs/channel.md");
    let page: Vec<_> = page.split_whitespace().collect();
    let page = page.join(" ");
    let Settings {
        most_credits,
        hello_within,
        back_off,
        ..
    } = Settings::default();
    assert_eq!(back_off.healthy, Duration::from_secs(5));
    for words in [
        format!("more than {most_credits} credits"),
        format!("within {} seconds of its start", hello_within.as_secs()),
        "at once if it had been ready for five seconds".to_owned(),
        format!(
            "doubles from {} milliseconds to {} seconds",
            back_off.first.as_millis(),
            back_off.most.as_secs()
        ),
    ] {
        assert!(page.contains(&words), "{words}");
    }
}

#[test]
fn one_that_never_says_hello_is_overdue_and_counts_as_crashed() {
    let now = Instant::now();
    let mut pool = Pool::new(settings(1), now);
    let worker = pool.due(now).unwrap();
    let late = now + settings(1).hello_within;
    assert_eq!(pool.wake_at(), Some(late));
    assert_eq!(pool.overdue(late - Duration::from_nanos(1)), []);
    assert_eq!(pool.overdue(late), [(worker, Overdue::Hello)]);
    assert_eq!(pool.overdue(late), []);
    // Its hello comes too late.
    assert_eq!(pool.hello(worker, 1, late), Ok(None));
    assert_eq!(one(&mut pool), None);
    let ended = pool.ended(worker, &[], late);
    assert_eq!(ended.again, Some(late + BACK_OFF.first));
}

#[test]
fn a_reload_keeps_the_old_worker_until_the_new_one_is_ready() {
    let (mut pool, w, now) = ready(&[4]);
    let (_, id) = one(&mut pool).unwrap();
    assert_eq!(pool.replace_all(now), []);
    let new = pool.due(now).unwrap();
    assert_eq!(one(&mut pool).unwrap().0, w[0]);
    // The new one crashes: the old one serves on, the next attempt waits.
    let again = pool.ended(new, &[], now).again.unwrap();
    assert_eq!(again, now + BACK_OFF.first);
    assert_eq!(one(&mut pool).unwrap().0, w[0]);
    let new = pool.due(again).unwrap();
    assert_eq!(pool.hello(new, 4, again), Ok(Some(w[0])));
    assert_eq!(one(&mut pool).unwrap().0, new);
    // The old one still may give back what it has, and its end starts nothing.
    assert_eq!(pool.done(w[0], &[id], 4, again), Ok(()));
    let ended = pool.ended(w[0], &[], again);
    assert_eq!((ended.lost, ended.again), (vec![2, 3], None));
    assert_eq!(pool.due(again + BACK_OFF.most), None);
    // A reload in the middle of another: the one that was starting is of no use.
    assert_eq!(pool.replace_all(again), []);
    let unused = pool.due(again).unwrap();
    assert_eq!(pool.replace_all(again), [unused]);
    let used = pool.due(again).unwrap();
    assert_eq!(pool.ended(unused, &[], again).again, None);
    assert_eq!(pool.hello(used, 1, again), Ok(Some(new)));
}

#[test]
fn an_old_worker_that_does_not_finish_is_overdue() {
    let (mut pool, w, now) = ready(&[4]);
    pool.replace_all(now);
    let new = pool.due(now).unwrap();
    pool.hello(new, 4, now).unwrap();
    let late = now + settings(1).drain_within;
    assert_eq!(pool.wake_at(), Some(late));
    assert_eq!(pool.overdue(late), [(w[0], Overdue::Drain)]);
}

#[test]
fn draining_loses_nothing_that_was_accepted() {
    let (mut pool, w, now) = ready(&[1, 1]);
    for _ in 0..3 {
        pool.admit();
    }
    pool.assign();
    pool.drain();
    assert_eq!(pool.room(), 0);
    // One still waits: nobody is told to finish before somebody has it.
    assert_eq!(pool.whom_to_drain(now), []);
    pool.done(w[0], &[1], 1, now).unwrap();
    assert_eq!(pool.assign(), [(w[0], vec![3])]);
    assert_eq!(pool.whom_to_drain(now), w);
    assert_eq!(pool.whom_to_drain(now), []);
    // One dies with what it had not taken, when nobody else takes any more: one is started for it.
    assert_eq!(pool.ended(w[1], &[2], now).returned, [2]);
    assert_eq!(pool.due(now), Some(WorkerId(3)));
    assert_eq!(pool.due(now), None);
    pool.hello(WorkerId(3), 1, now).unwrap();
    assert_eq!(pool.assign(), [(WorkerId(3), vec![2])]);
    assert_eq!(pool.whom_to_drain(now), [WorkerId(3)]);
    pool.done(WorkerId(3), &[2], 1, now).unwrap();
    for worker in [w[0], WorkerId(3)] {
        assert!(!pool.is_over());
        pool.ended(worker, &[], now);
    }
    assert!(pool.is_over());
    assert_eq!((pool.due(now), pool.wake_at()), (None, None));
}

#[test]
fn a_worker_that_starts_while_nothing_is_left_is_cut_off() {
    let now = Instant::now();
    let mut pool = Pool::new(settings(1), now);
    let worker = pool.due(now).unwrap();
    pool.drain();
    assert_eq!(pool.whom_to_drain(now), []);
    assert_eq!(pool.cut_off_workers().collect::<Vec<_>>(), [worker]);
    pool.ended(worker, &[], now);
    assert!(pool.is_over());
}

#[test]
fn a_connection_that_was_closed_while_it_waited_is_given_to_nobody() {
    let now = Instant::now();
    let mut pool = Pool::new(settings(1), now);
    let worker = pool.due(now).unwrap();
    let (gone, stays) = (pool.admit(), pool.admit());
    pool.forget(gone);
    pool.hello(worker, 4, now).unwrap();
    assert_eq!(pool.assign(), [(worker, vec![stays])]);
}
