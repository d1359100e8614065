//! How much memory a piece of work holds: an allocator that counts for each thread.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// What `work` makes, and the most bytes that this thread held meanwhile, beyond what it held before.
pub fn most_held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let made = work();
    (made, usize::try_from(MOST.get() - before).unwrap_or_default())
}

/// The system's, counting what this thread holds.
struct Counting;

thread_local! {
    // Below zero where memory of another thread is given back.
    static HELD: Cell<i64> = const { Cell::new(0) };
    static MOST: Cell<i64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: each call is the system allocator's; the counters are plain cells of the thread and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-signed(layout));
        unsafe { System.dealloc(memory, layout) }
    }
}

fn signed(layout: Layout) -> i64 {
    // A layout has at most isize::MAX bytes.
    layout.size() as i64
}

fn count(change: i64) {
    // A thread that ends has no cells any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

#[test]
fn memory_that_was_held_for_a_moment_counts() {
    let (length, most) = most_held(|| vec![7_u8; 1 << 20].len());
    assert!((1 << 20..2 << 20).contains(&most), "{length}: {most}");
}
