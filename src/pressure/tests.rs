use std::{collections::VecDeque, fs, path::Path};

use super::*;
use crate::core::admission::Marks;

const MEMINFO: &str = "MemTotal:       1000 kB\nMemFree:          10 kB\nMemAvailable:    250 kB\n";
const STALLED: &str =
    "some avg10=12.40 avg60=3.00 avg300=0.00 total=17\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=9\n";

fn limits() -> Limits {
    let all = [
        Resource::Memory,
        Resource::MemoryPressure,
        Resource::Disk,
        Resource::Cpu,
        Resource::CpuPressure,
        Resource::IoPressure,
    ];
    let marks = all.into_iter().map(|resource| (resource, Marks { high: 85, low: 75 }));
    Limits { marks: marks.collect(), ..Limits::default() }
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn sampler(root: &Path) -> Sampler {
    let places = Places { proc: root.join("proc"), cgroup: Some(root.join("group")), disk: root.join("nowhere") };
    Sampler::of_host(&places, &limits())
}

/// What is left out now, in words.
fn left_out(sampler: &Sampler) -> Vec<String> {
    sampler.sources.iter().filter_map(|watched| Some(watched.left_out.as_ref()?.to_string())).collect()
}

#[test]
fn a_host_without_control_groups_is_read_from_proc() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("proc/meminfo", MEMINFO),
            ("proc/stat", "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 1\n"),
            ("proc/pressure/memory", STALLED),
            ("proc/pressure/cpu", STALLED),
            ("proc/pressure/io", STALLED),
        ],
    );
    let mut sampler = sampler(root.path());
    let start = Instant::now();
    let first = sampler.sample(start);
    assert_eq!(first.get(&Resource::Memory), Some(&75));
    assert_eq!(first.get(&Resource::MemoryPressure), Some(&12));
    assert_eq!(first.get(&Resource::Cpu), None, "it takes two looks");
    write(root.path(), &[("proc/stat", "cpu  30 0 30 30 10 0 0 0 0 0\n")]);
    assert_eq!(sampler.sample(start + Duration::from_secs(1)).get(&Resource::Cpu), Some(&60));
}

#[test]
fn a_control_group_counts_if_it_has_a_limit_and_its_cache_does_not() {
    let root = tempfile::tempdir().unwrap();
    let group = [
        ("proc/meminfo", MEMINFO),
        ("group/memory.max", "1000\n"),
        ("group/memory.current", "980\n"),
        ("group/memory.stat", "anon 900\ninactive_file 100\n"),
        ("group/cpu.max", "50000 100000\n"),
        ("group/cpu.stat", "usage_usec 0\n"),
    ];
    write(root.path(), &group);
    let mut sampler = sampler(root.path());
    let start = Instant::now();
    assert_eq!(sampler.sample(start).get(&Resource::Memory), Some(&88), "the fuller of host and group");
    // Half a core is all there is.
    write(root.path(), &[("group/cpu.stat", "usage_usec 400000\n"), ("group/memory.max", "max\n")]);
    let second = sampler.sample(start + Duration::from_secs(1));
    assert_eq!((second.get(&Resource::Cpu), second.get(&Resource::Memory)), (Some(&80), Some(&75)));
}

#[test]
fn what_is_absent_or_garbage_is_left_out_by_name() {
    let root = tempfile::tempdir().unwrap();
    let garbage = [
        ("proc/meminfo", "MemTotal: many kB\n"),
        ("proc/stat", "cpu  1 2 three\n"),
        ("proc/pressure/cpu", "some avg10=inf\n"),
        ("proc/pressure/memory", ""),
        ("group/memory.max", "-1\n"),
        ("group/cpu.max", "0 0\n"),
        ("group/io.pressure", "\u{0}\u{1}"),
    ];
    write(root.path(), &garbage);
    let mut sampler = sampler(root.path());
    assert_eq!(sampler.sample(Instant::now()), Usage::new());
    let path = |name: &str| root.path().join(name).display().to_string();
    let expected = [
        format!("{} has no number after \"MemTotal:\" that can be read", path("proc/meminfo")),
        format!("{} has no line \"cpu …\" of eight numbers that can be read", path("proc/stat")),
        format!("{} has no line \"some avg10=…\" that can be read", path("proc/pressure/cpu")),
        format!("{} has no line \"some avg10=…\" that can be read", path("proc/pressure/memory")),
        format!("{} is not there", path("proc/pressure/io")),
        format!("{} is not there", path("nowhere")),
        format!("{} has no number that can be read", path("group/memory.max")),
        format!("{} has no quota and period that can be read", path("group/cpu.max")),
        format!("{} is not there", path("group/cpu.pressure")),
        format!("{} is not there", path("group/memory.pressure")),
        format!("{} has no line \"some avg10=…\" that can be read", path("group/io.pressure")),
    ];
    assert_eq!(left_out(&sampler), expected);
}

#[test]
fn a_file_that_is_none_or_belongs_to_others_is_left_out() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("proc/meminfo", MEMINFO)]);
    fs::create_dir_all(root.path().join("proc/stat")).unwrap();
    let mut sampler = sampler(root.path());
    sampler.sample(Instant::now());
    let text = format!("{} has no text that can be read", root.path().join("proc/stat").display());
    assert!(left_out(&sampler).contains(&text), "{:?}", left_out(&sampler));
    // What comes back is looked at again.
    fs::remove_dir(root.path().join("proc/stat")).unwrap();
    write(root.path(), &[("proc/stat", "cpu  0 0 0 0 0 0 0 0 0 0\n")]);
    sampler.sample(Instant::now());
    assert!(!left_out(&sampler).contains(&text));
}

#[test]
fn a_process_in_no_group_of_version_2_says_so() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("self/cgroup", "9:name=systemd:/\n4:memory:/x\n")]);
    let reason = cgroup::own(root.path()).unwrap_err();
    assert!(matches!(reason, LeftOut::Garbage { wanted: "line \"0::/…\" of a control group of version 2", .. }));
    write(root.path(), &[("self/cgroup", "0::/no/such/group/anywhere\n")]);
    assert!(matches!(cgroup::own(root.path()), Err(LeftOut::Absent(_))));
}

/// Says what it is told to.
struct Script(VecDeque<Usage>);

impl Source for Script {
    fn name(&self) -> Arc<str> {
        "a script".into()
    }

    fn read(&mut self, _: Instant) -> Result<Usage, LeftOut> {
        Ok(self.0.pop_front().expect("no more is read than was told"))
    }
}

#[test]
fn an_idle_host_is_told_once_and_a_full_one_point_by_point() {
    let memory = [40, 42, 44, 46, 41, 76, 77, 77, 74, 73];
    let script = Script(memory.iter().map(|percent| Usage::from([(Resource::Memory, *percent)])).collect());
    let mut sampler = Sampler::new(vec![Box::new(script)], limits());
    let told: Vec<_> = memory.iter().filter_map(|_| sampler.news(Instant::now())?.remove(&Resource::Memory)).collect();
    assert_eq!(
        told,
        [40, 46, 41, 76, 77, 74],
        "below the mark by steps, above it each change, and the way down across it"
    );
}

#[test]
fn what_has_no_mark_is_not_told() {
    let script = Script(VecDeque::from([Usage::from([(Resource::Cpu, 99), (Resource::Memory, 50)])]));
    let marks = [(Resource::Memory, Marks { high: 90, low: 80 })].into();
    let mut sampler = Sampler::new(vec![Box::new(script)], Limits { marks, ..Limits::default() });
    assert_eq!(sampler.news(Instant::now()), Some(Usage::from([(Resource::Memory, 50)])));
}
