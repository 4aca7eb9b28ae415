//! Whatever happens, in whatever order: a world beside the pool that knows where every connection is.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Admit,
    Assign {
        full: bool,
    },
    Space,
    Start,
    Hello {
        which: usize,
        credits: u32,
    },
    Done {
        which: usize,
        count: usize,
        credits: u32,
    },
    Lie {
        which: usize,
    },
    End {
        which: usize,
        read: usize,
    },
    Pass {
        milliseconds: u64,
    },
    Reload,
    Drain,
}

fn acts() -> impl Strategy<Value = Act> {
    let which = || 0_usize..6;
    prop_oneof![
        12 => Just(Act::Admit),
        12 => proptest::bool::weighted(0.1).prop_map(|full| Act::Assign { full }),
        1 => Just(Act::Space),
        4 => Just(Act::Start),
        4 => (which(), 0_u32..70).prop_map(|(which, credits)| Act::Hello { which, credits }),
        8 => (which(), 0_usize..4, 0_u32..66)
            .prop_map(|(which, count, credits)| Act::Done { which, count, credits }),
        1 => which().prop_map(|which| Act::Lie { which }),
        3 => (which(), 0_usize..4).prop_map(|(which, read)| Act::End { which, read }),
        3 => (0_u64..40_000).prop_map(|milliseconds| Act::Pass { milliseconds }),
        1 => Just(Act::Reload),
        1 => Just(Act::Drain),
    ]
}

/// What the outside world knows, to compare with.
#[derive(Default)]
struct World {
    admitted: BTreeSet<u64>,
    over: BTreeSet<u64>,
    lost: BTreeSet<u64>,
    /// In which worker's hands or channel each is, oldest first.
    with: BTreeMap<WorkerId, Vec<u64>>,
}

impl World {
    fn nth(&self, pool: &Pool, which: usize) -> Option<WorkerId> {
        let all: Vec<_> = pool.loads().map(|load| load.worker).collect();
        (!all.is_empty()).then(|| all[which % all.len()])
    }
}

fn step(pool: &mut Pool, world: &mut World, now: &mut Instant, act: &Act) {
    let worker = match act {
        Act::Hello { which, .. }
        | Act::Done { which, .. }
        | Act::Lie { which }
        | Act::End { which, .. } => match world.nth(pool, *which) {
            Some(worker) => worker,
            None => return,
        },
        _ => WorkerId(0),
    };
    match *act {
        Act::Admit => {
            // As the broker does: only while there is room.
            if pool.room() > 0 {
                assert!(world.admitted.insert(pool.admit()));
            }
        }
        Act::Assign { full } => {
            for (to, ids) in pool.assign() {
                assert!((1..=MOST_CONNECTIONS).contains(&ids.len()));
                assert_eq!(phase(pool, to), Some(Phase::Ready));
                let load = pool.loads().find(|load| load.worker == to).unwrap();
                assert!(load.held <= load.credits as usize, "{load:?}");
                if full {
                    pool.unsent(to, &ids);
                    pool.set_full(to, Full::Yes);
                    continue;
                }
                world.with.entry(to).or_default().extend(ids);
            }
        }
        Act::Space => {
            let all: Vec<_> = pool.loads().map(|load| load.worker).collect();
            for worker in all {
                pool.set_full(worker, Full::No);
            }
        }
        Act::Start => drop(pool.due(*now)),
        Act::Hello { credits, .. } => {
            let before = phase(pool, worker);
            let result = pool.hello(worker, credits, *now);
            let right = before == Some(Phase::Starting) && credits <= 64;
            assert_eq!(result.is_ok(), right || before == Some(Phase::CutOff));
        }
        Act::Done { count, credits, .. } => {
            let has = world.with.entry(worker).or_default();
            let ids: Vec<_> = has.iter().copied().take(count).collect();
            let heard = matches!(phase(pool, worker), Some(Phase::Ready | Phase::Draining))
                && credits <= 64;
            let result = pool.done(worker, &ids, credits, *now);
            if heard {
                assert_eq!(result, Ok(()));
                has.drain(..ids.len());
                world.over.extend(ids);
            }
        }
        Act::Lie { .. } => {
            let _ = pool.done(worker, &[u64::MAX], 1, *now);
            assert_eq!(phase(pool, worker), Some(Phase::CutOff));
        }
        Act::End { read, .. } => {
            let has = world.with.remove(&worker).unwrap_or_default();
            let unread: Vec<_> = has.iter().copied().skip(read).collect();
            let ended = pool.ended(worker, &unread, *now);
            assert_eq!(ended.returned, unread);
            assert_eq!(ended.returned.len() + ended.lost.len(), has.len());
            world.lost.extend(ended.lost);
            if let Some(again) = ended.again {
                assert!(again <= *now + BACK_OFF.most);
            }
        }
        Act::Pass { milliseconds } => {
            *now += Duration::from_millis(milliseconds);
            pool.overdue(*now);
        }
        Act::Reload => drop(pool.replace_all(*now)),
        Act::Drain => {
            pool.drain();
            pool.whom_to_drain(*now);
        }
    }
}

proptest! {
    #[test]
    fn every_connection_is_in_exactly_one_place(
        workers in 1_usize..4,
        acts in proptest::collection::vec(acts(), 0..200),
    ) {
        let mut now = Instant::now();
        let mut pool = Pool::new(settings(workers), now);
        let mut world = World::default();
        for act in &acts {
            step(&mut pool, &mut world, &mut now, act);
            let held: usize = pool.loads().map(|load| load.held).sum();
            prop_assert_eq!(held, world.with.values().map(Vec::len).sum::<usize>());
            prop_assert_eq!(
                held + pool.waiting() + world.over.len() + world.lost.len(),
                world.admitted.len()
            );
            prop_assert!(world.over.is_disjoint(&world.lost));
            // Whoever is next is ready and has credit, and nobody ready with credit has less.
            let free = |load: &Load| {
                load.phase == Phase::Ready && load.held < load.credits as usize
            };
            if let Some(next) = pool.next() {
                let next = pool.loads().find(|load| load.worker == next).unwrap();
                prop_assert!(free(&next));
                prop_assert!(
                    pool.members
                        .values()
                        .filter(|member| member.free() > 0)
                        .all(|member| member.held.len() >= next.held)
                );
            }
            // A slot never has more than one worker that serves and one that starts.
            for (index, slot) in pool.slots.iter().enumerate() {
                let live = pool.loads().filter(|load| {
                    load.slot == index && matches!(load.phase, Phase::Starting | Phase::Ready)
                });
                prop_assert!(live.count() <= 2);
                prop_assert!(slot.serving.is_none() || slot.serving != slot.starting);
            }
        }
    }

    #[test]
    fn however_it_went_a_drained_pool_comes_to_its_end(
        workers in 1_usize..4,
        acts in proptest::collection::vec(acts(), 0..100),
    ) {
        let mut now = Instant::now();
        let mut pool = Pool::new(settings(workers), now);
        let mut world = World::default();
        for act in &acts {
            step(&mut pool, &mut world, &mut now, act);
        }
        pool.drain();
        // Workers that do their duty from now on: each round starts, serves and ends what it can.
        for _ in 0..200 {
            if pool.is_over() {
                break;
            }
            pool.overdue(now);
            let all: Vec<Load> = pool.loads().collect();
            for load in all {
                pool.set_full(load.worker, Full::No);
                match load.phase {
                    Phase::Starting => drop(pool.hello(load.worker, 4, now)),
                    Phase::CutOff => {
                        let unread = world.with.remove(&load.worker).unwrap_or_default();
                        pool.ended(load.worker, &unread, now);
                    }
                    Phase::Ready | Phase::Draining => {
                        let ids = world.with.remove(&load.worker).unwrap_or_default();
                        prop_assert_eq!(pool.done(load.worker, &ids, 4, now), Ok(()));
                        world.over.extend(ids);
                        if load.phase == Phase::Draining {
                            pool.ended(load.worker, &[], now);
                        }
                    }
                }
            }
            for (to, ids) in pool.assign() {
                world.with.entry(to).or_default().extend(ids);
            }
            pool.whom_to_drain(now);
            if pool.loads().next().is_none() {
                now = pool.wake_at().map_or(now, |at| at.max(now));
            }
            while pool.due(now).is_some() {}
        }
        prop_assert!(pool.is_over(), "{:?}", pool);
        prop_assert_eq!(world.over.len() + world.lost.len(), world.admitted.len());
    }
}
