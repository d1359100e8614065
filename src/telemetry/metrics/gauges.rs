//! What is read rather than counted: the core's gauges, and how long ago things were.
//!
//! The core is not asked here: the loop leaves a reading at most once a second, and however often metrics are fetched, all see that.

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};

use super::{
    definitions::{self as table, Definition, Kind, label},
    labels,
    polls::Polls,
};
use crate::{
    core::{
        drain::Phase,
        gauges::{Gauges, Room, UPSTREAM_STATES, UpstreamGauges},
        wait::Name,
    },
    health::Vitals,
};

/// Registers all of them.
pub(super) fn register(meter: &Meter, vitals: &Vitals, polls: Polls) {
    let read = Reader { meter, vitals };
    read.gauge(&table::BUILD_INFO, |_, see| {
        see.observe(1.0, &[KeyValue::new(label::VERSION, env!("CARGO_PKG_VERSION"))]);
    });
    read.gauge(&table::UPTIME, |vitals, see| see.observe(vitals.uptime().as_secs_f64(), &[]));
    read.gauge(&table::LOOP_AGE, |vitals, see| {
        if let Some(age) = vitals.age() {
            see.observe(age.as_secs_f64(), &[]);
        }
    });
    read.gauge(&table::STATE, |vitals, see| {
        let Some(gauges) = vitals.gauges() else { return };
        for (state, phase) in [("serving", Phase::Serving), ("draining", Phase::Draining), ("drained", Phase::Drained)]
        {
            see.observe(f64::from(u8::from(gauges.phase == phase)), &[KeyValue::new(label::STATE, state)]);
        }
    });
    read.resources(&table::ADMISSION_USED, |room| room.used);
    read.resources(&table::ADMISSION_SHORT, |room| u8::from(room.is_short));
    read.states(&table::SESSIONS, |gauges| {
        let sessions = &gauges.sessions;
        vec![
            ("setting_up", sessions.setting_up),
            ("ready", sessions.ready),
            ("closing", sessions.closing),
            ("orphaned", sessions.orphaned),
        ]
    });
    read.number(&table::STORE_FAILING, |gauges| usize::from(gauges.store_failing));
    read.states(&table::TASKS, |gauges| {
        let tasks = &gauges.tasks;
        vec![
            ("listed", tasks.listed),
            ("acquiring", tasks.acquiring),
            ("waiting", tasks.waiting),
            ("assigned", tasks.assigned),
            ("running", tasks.running),
            ("reporting", tasks.reporting),
            ("dead", tasks.dead),
        ]
    });
    read.gauge(&table::TASKS_WAITING, |vitals, see| {
        let Some(gauges) = vitals.gauges() else { return };
        for name in Name::ALL {
            let count = gauges.waits.get(name).copied().unwrap_or_default();
            see.observe(float(count), &[KeyValue::new(label::WAIT, name.word())]);
        }
    });
    read.gauge(&table::QUEUE_AGE, |vitals, see| {
        if let Some(gauges) = vitals.gauges() {
            see.observe(gauges.queue_age.as_secs_f64(), &[]);
        }
    });
    read.upstreams(&table::UNREPORTED, |upstream| float(upstream.unreported));
    read.upstreams(&table::UNREPORTED_AGE, |upstream| upstream.unreported_age.as_secs_f64());
    read.upstreams(&table::DEAD_LETTERS, |upstream| float(upstream.dead_letters));
    read.gauge(&table::UPSTREAM_STATE, |vitals, see| {
        for upstream in vitals.gauges().iter().flat_map(|gauges| &gauges.upstreams) {
            let name = labels::upstream(&upstream.name);
            for state in UPSTREAM_STATES {
                let is_it = f64::from(u8::from(upstream.state == state));
                see.observe(is_it, &[name.clone(), KeyValue::new(label::STATE, state)]);
            }
        }
    });
    read.gauge(&table::UPSTREAM_POLL_AGE, move |_, see| {
        for (name, age) in polls.ages() {
            see.observe(age.as_secs_f64(), &[labels::upstream(name)]);
        }
    });
    read.number(&table::RUNNERS_ATTACHED, |gauges| gauges.runners);
    read.number(&table::SLOTS, |gauges| gauges.credits.slots);
    read.states(&table::CREDITS, |gauges| {
        let credits = &gauges.credits;
        vec![("free", credits.free), ("held", credits.held), ("reserved", credits.reserved)]
    });
    read.number(&table::CREDITS_MISMATCH, |gauges| gauges.credits.mismatch);
}

struct Reader<'a> {
    meter: &'a Meter,
    vitals: &'a Vitals,
}

// === impl Reader ===

impl Reader<'_> {
    fn gauge(
        &self,
        definition: &'static Definition,
        look: impl Fn(&Vitals, &dyn AsyncInstrument<f64>) + Send + Sync + 'static,
    ) {
        assert_eq!(definition.kind, Kind::Gauge, "{} is a gauge here and not in the table", definition.name);
        let vitals = self.vitals.clone();
        // The provider keeps the callback; the handle is of no further use.
        let _ = self
            .meter
            .f64_observable_gauge(definition.name)
            .with_unit(definition.unit.ucum())
            .with_description(definition.meaning)
            .with_callback(move |see| look(&vitals, see))
            .build();
    }

    fn number(&self, definition: &'static Definition, number: fn(&Gauges) -> usize) {
        self.gauge(definition, move |vitals, see| {
            if let Some(gauges) = vitals.gauges() {
                see.observe(float(number(&gauges)), &[]);
            }
        });
    }

    fn states(&self, definition: &'static Definition, numbers: fn(&Gauges) -> Vec<(&'static str, usize)>) {
        self.gauge(definition, move |vitals, see| {
            for (state, number) in vitals.gauges().iter().flat_map(|gauges| numbers(gauges)) {
                see.observe(float(number), &[KeyValue::new(label::STATE, state)]);
            }
        });
    }

    fn resources(&self, definition: &'static Definition, value: fn(&Room) -> u8) {
        self.gauge(definition, move |vitals, see| {
            for room in vitals.gauges().iter().flat_map(|gauges| &gauges.admission) {
                see.observe(value(room).into(), &[KeyValue::new(label::RESOURCE, room.resource.word())]);
            }
        });
    }

    fn upstreams(&self, definition: &'static Definition, value: fn(&UpstreamGauges) -> f64) {
        self.gauge(definition, move |vitals, see| {
            for upstream in vitals.gauges().iter().flat_map(|gauges| &gauges.upstreams) {
                see.observe(value(upstream), &[labels::upstream(&upstream.name)]);
            }
        });
    }
}

/// Exact for all counts that fit into memory.
#[allow(clippy::cast_precision_loss)]
fn float(count: usize) -> f64 {
    count as f64
}
