//! Whole processes under load, each beside a limit that is measured in the same run: prints one table. `scripts/bench`
//! builds what it needs and runs it.
//!
//! ```text
//!  load (a process) ──▶ ingest | up | a server that answers 204 ──▶ Kafka | embedded log ──▶ sink ──▶ lake
//!                           └── CPU and memory of each process, from /proc, before and after ──▶ table
//! ```
//! What is compared is CPU-seconds for a million events: load, brokers and what is measured share the machine, so wall
//! time says little, and two runs are never compared with each other, only limit and ours within one.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench"
)]
mod child;
mod compare;
mod edge;
mod growth;
mod layout;
mod limits;
mod load;
mod maintenance;
mod object_store;
mod roles;
mod rollups;
mod sink;
mod steps;
mod table;
mod up;

use table::Table;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Step = fn(u32, &mut Table);

const STEPS: [(&str, Step); 19] = [
    ("steps", steps::read),
    ("edge-kafka", edge::kafka),
    ("edge-embedded", edge::embedded),
    ("edge-one", edge::one_event_a_request),
    ("sink", sink::drains),
    ("way", up::whole_way),
    ("up", up::saturated),
    ("growth-partitions", growth::partitions),
    ("growth-connections", growth::connections),
    ("growth-files", growth::files),
    ("replay", maintenance::replay_and_compaction),
    ("live-replay", maintenance::live_beside_replay),
    ("commits", maintenance::commits),
    ("object-store", object_store::latency),
    ("layout", layout::one_title_one_day),
    ("fresh", rollups::fresh),
    ("restart", rollups::restart),
    ("slope", up::slope),
    ("compare", compare::compare),
];

fn main() {
    // `cargo bench` says --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(("--child", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return child::run(rest);
    }
    let runs = setting("BENCH_RUNS").unwrap_or(5);
    let mut table = Table::new(runs);
    for (name, step) in STEPS {
        if arguments.is_empty() || arguments.iter().any(|wanted| wanted == name) {
            eprintln!("==> {name}");
            step(runs, &mut table);
        }
    }
    print!("{table}");
}

/// A figure that `scripts/bench` may change.
#[allow(clippy::disallowed_methods, reason = "a bench is told by variables")]
pub fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}
