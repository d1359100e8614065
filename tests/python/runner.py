"""A runner in plain grpcio, to show that `proto/` alone is enough to write one.

It attaches over a Unix socket, echoes a number of tasks, can cut its link once on the way, and ends when the delegate has
acknowledged every result. A task that belongs to a session adds its id to the list that is the session's state, before it is done. It prints one line of JSON and exits with 0; with 1 and a sentence if it could not.

    python runner.py --proto ../../proto --generated /tmp/stubs --target unix:/run/dlite/runner.sock \
        --handler ECHO --tasks 10 --cut-after 3
"""

import argparse
import collections
import json
import os
import queue
import random
import sys
import threading
import time
import uuid

import grpc

ATTACH_PAUSE_SECONDS_MAX = 1.0
HEARTBEAT_SECONDS_DEFAULT = 10.0
# For a Unix socket grpcio would send the escaped path as authority, which strict HTTP/2 servers reset as malformed.
CHANNEL_OPTIONS = [("grpc.default_authority", "localhost")]
# Ends of a stream that attaching again can't mend, by code, as the table above Attach says.
FATAL = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
}


def generate(proto, into):
    """Makes the stubs from `proto` in the directory `into`, and returns (messages, events, service)."""
    import importlib.resources

    from grpc_tools import protoc

    os.makedirs(into, exist_ok=True)
    well_known = str(importlib.resources.files("grpc_tools") / "_proto")
    files = [
        "google/rpc/status.proto",
        "dlite/runner/v1/task.proto",
        "dlite/runner/v1/session.proto",
        "dlite/runner/v1/step.proto",
        "dlite/runner/v1/event.proto",
        "dlite/runner/v1/runner_service.proto",
    ]
    includes = [f"-I{proto}", f"-I{well_known}"]
    if protoc.main(["protoc", *includes, f"--python_out={into}", f"--grpc_python_out={into}", *files]) != 0:
        sys.exit("the stubs could not be made")
    sys.path.insert(0, into)
    from dlite.runner.v1 import event_pb2, runner_service_pb2, runner_service_pb2_grpc

    return runner_service_pb2, event_pb2, runner_service_pb2_grpc


class Held:
    """One assignment whose end is not acknowledged."""

    def __init__(self, assignment, accepted):
        self.assignment = assignment
        self.accepted = accepted
        self.accept_acknowledged = False
        self.result = None
        self.result_sent = False
        self.updates = 0


class Runner:
    """What lives longer than a link."""

    def __init__(self, options, pb, event_pb, services):
        self.options, self.pb, self.event_pb, self.services = options, pb, event_pb, services
        self.instance_id = str(uuid.uuid4())
        self.held = {}
        self.taken = 0
        self.results_acknowledged = 0
        self.results_sent = 0
        self.results_resent = 0
        self.handlers_started = 0
        self.links = 0
        self.cut = False

    def done(self):
        return self.results_acknowledged >= self.options.tasks and not self.held

    def run(self):
        give_up_at = time.monotonic() + self.options.timeout
        failures = 0
        while not self.done():
            self.links += 1
            try:
                welcomed = Link(self).run(give_up_at)
                failures = 0 if welcomed else failures + 1
            except grpc.RpcError as error:
                if error.code() in FATAL:
                    sys.exit(f"refused: {error.code().name}: {error.details()}")
                failures += 1
            if time.monotonic() > give_up_at:
                sys.exit(f"{self.results_acknowledged} of {self.options.tasks} results acknowledged in time")
            if failures:
                time.sleep(random.uniform(0, min(ATTACH_PAUSE_SECONDS_MAX, 0.05 * 2**failures)))
        print(
            json.dumps(
                {
                    "tasks": self.options.tasks,
                    "acknowledged": self.results_acknowledged,
                    "handlers_started": self.handlers_started,
                    "results_sent": self.results_sent,
                    "results_resent": self.results_resent,
                    "links": self.links,
                    "cut": self.cut,
                }
            ),
            flush=True,
        )


class Link:
    """One stream: its numbers, and what went out on it and is not acknowledged."""

    def __init__(self, runner):
        self.runner, self.pb = runner, runner.pb
        self.sequence = 0
        self.received = 0
        self.received_told = 0
        self.sent = collections.deque()
        self.heartbeat_id = 0
        self.heartbeat_seconds = HEARTBEAT_SECONDS_DEFAULT
        self.welcomed = False
        self.outgoing = queue.SimpleQueue()
        self.incoming = queue.SimpleQueue()
        for held in runner.held.values():
            held.result_sent = False

    def run(self, give_up_at):
        """Returns when the link has ended: whether it was welcomed. Raises what the delegate ended it with."""
        with grpc.insecure_channel(self.runner.options.target, CHANNEL_OPTIONS) as channel:
            responses = self.runner.services.RunnerServiceStub(channel).Attach(iter(self.outgoing.get, None))
            threading.Thread(target=self.listen, args=(responses,), daemon=True).start()
            try:
                return self.converse(give_up_at)
            finally:
                self.outgoing.put(None)

    def listen(self, responses):
        """Moves frames to the one thread that looks at them; then the error the stream ended with, or None."""
        try:
            for response in responses:
                self.incoming.put(response)
            self.incoming.put(None)
        except grpc.RpcError as error:
            self.incoming.put(error)

    def converse(self, give_up_at):
        self.say(hello=self.hello())
        heard_at = heartbeat_at = time.monotonic()
        closed = False
        while time.monotonic() < give_up_at:
            pause = max(0.0, min(heartbeat_at + self.heartbeat_seconds, give_up_at) - time.monotonic())
            try:
                incoming = self.incoming.get(timeout=pause)
            except queue.Empty:
                if time.monotonic() - heard_at > 3 * self.heartbeat_seconds:
                    return self.welcomed
                if self.welcomed and not closed:
                    self.heartbeat()
                heartbeat_at = time.monotonic()
                continue
            if incoming is None:
                return self.welcomed
            if isinstance(incoming, grpc.RpcError):
                if self.runner.done():
                    return self.welcomed
                raise incoming
            heard_at = time.monotonic()
            if not self.take(incoming):
                return self.welcomed
            if closed:
                continue
            options = self.runner.options
            if options.cut_after and not self.runner.cut and self.runner.results_sent >= options.cut_after:
                self.runner.cut = True
                return True
            if self.received > self.received_told:
                self.say(ack=self.pb.Ack())
            if self.runner.done():
                self.outgoing.put(None)
                closed = True
        return self.welcomed

    def take(self, response):
        """False: the stream is of no more use."""
        if response.sequence > self.received + 1:
            return False
        repeated = 0 < response.sequence <= self.received
        self.received = max(self.received, response.sequence)
        frame = response.WhichOneof("frame")
        # Before the acknowledgement that rides with it, which alone would start a refused task.
        if frame == "rejection":
            self.refused(response.rejection)
        while self.sent and self.sent[0][0] <= response.ack_sequence:
            self.acknowledged(*self.sent.popleft()[1:])
        if repeated:
            return True
        if frame == "welcome":
            self.welcome(response.welcome)
        elif frame == "assignment":
            self.assigned(response.assignment)
        elif frame == "cancellation":
            self.cancelled(response.cancellation)
        elif frame == "session":
            self.session_told(response.session)
        elif frame == "heartbeat_ack":
            for lost in response.heartbeat_ack.lost:
                self.lose(lost.lease_id)
        return frame != "reconnect"

    def hello(self):
        options, pb = self.runner.options, self.pb
        held_tasks = [
            pb.HeldTask(
                task_id=held.assignment.task.task_id,
                lease_id=lease_id,
                accept_acknowledged=held.accept_acknowledged,
                finished=held.result is not None,
            )
            for lease_id, held in self.runner.held.items()
        ]
        return pb.Hello(
            runner_id=options.runner_id,
            instance_id=self.runner.instance_id,
            info=pb.RunnerInfo(sdk=f"python-grpcio/{grpc.__version__}"),
            handlers=[pb.Handler(task_type=options.handler)],
            capacity=pb.Capacity(slots={"default": options.slots}),
            held_tasks=held_tasks,
        )

    def welcome(self, welcome):
        self.welcomed = True
        if welcome.HasField("heartbeat_interval"):
            self.heartbeat_seconds = welcome.heartbeat_interval.ToTimedelta().total_seconds()
        decisions = {decision.lease_id: decision.disposition for decision in welcome.decisions}
        for lease_id, held in list(self.runner.held.items()):
            disposition = decisions.get(lease_id, self.pb.HELD_TASK_DISPOSITION_UNSPECIFIED)
            if disposition == self.pb.HELD_TASK_DISPOSITION_ACKNOWLEDGED:
                self.forget(lease_id)
            elif disposition == self.pb.HELD_TASK_DISPOSITION_ABANDON:
                self.lose(lease_id)
            elif held.accepted and disposition in (
                self.pb.HELD_TASK_DISPOSITION_KEEP,
                self.pb.HELD_TASK_DISPOSITION_RESEND_RESULT,
            ):
                held.accept_acknowledged = True
                self.work(lease_id)
            else:
                self.decide(lease_id)
                if held.result is not None:
                    self.send_result(lease_id)
        self.heartbeat()

    def assigned(self, assignment):
        runner = self.runner
        if assignment.lease_id not in runner.held:
            wanted = assignment.task.task_type == runner.options.handler and runner.taken < runner.options.tasks
            runner.taken += wanted
            runner.held[assignment.lease_id] = Held(assignment, wanted)
        self.decide(assignment.lease_id)

    def decide(self, lease_id):
        if self.runner.held[lease_id].accepted:
            decision = self.pb.AssignmentDecision(lease_id=lease_id, accepted=self.pb.Accepted())
        else:
            decision = self.pb.AssignmentDecision(lease_id=lease_id, rejected=self.pb.Rejected())
        self.say_counted("decision", lease_id, decision=decision)

    def acknowledged(self, kind, lease_id):
        held = self.runner.held.get(lease_id)
        if held is None:
            return
        if kind == "result":
            self.forget(lease_id)
        elif kind == "state":
            self.finish(lease_id)
        elif not held.accepted:
            self.runner.held.pop(lease_id)
        elif not held.accept_acknowledged:
            held.accept_acknowledged = True
            self.work(lease_id)

    def refused(self, rejection):
        for sent in self.sent:
            if sent[0] == rejection.sequence:
                self.sent.remove(sent)
                # A stale change is made anew once the session in force is told, which follows.
                return None if sent[1] == "state" else self.lose(sent[2])

    def cancelled(self, cancellation):
        held = self.runner.held.get(cancellation.lease_id)
        if held is not None and held.accepted and held.result is None:
            outcome = self.runner.event_pb.TASK_OUTCOME_CANCELLED
            held.result = self.runner.event_pb.TaskResult(lease_id=cancellation.lease_id, outcome=outcome)
            self.send_result(cancellation.lease_id)

    def work(self, lease_id):
        """The handler, whose accept is durable by now: an echo, and therefore done at once."""
        held = self.runner.held[lease_id]
        if held.result is not None:
            self.runner.results_resent += 1
            return self.send_result(lease_id)
        self.runner.handlers_started += 1
        if held.assignment.HasField("session"):
            return self.change_state(lease_id)
        self.finish(lease_id)

    def change_state(self, lease_id):
        """Compare and set: from the session as it was last told."""
        held = self.runner.held[lease_id]
        session, task_id = held.assignment.session, held.assignment.task.task_id
        names = json.loads(session.state.inline or b"[]")
        if task_id in names:
            return self.finish(lease_id)
        held.updates += 1
        update = self.runner.event_pb.TaskUpdate(lease_id=lease_id, number=held.updates)
        update.session_state.expected_etag = session.etag
        update.session_state.state.content_type = "application/json"
        update.session_state.state.inline = json.dumps(names + [task_id]).encode()
        self.say_counted("state", lease_id, update=update)

    def session_told(self, session):
        waiting = {lease_id for _, kind, lease_id in self.sent if kind == "state"}
        for lease_id, held in self.runner.held.items():
            if held.assignment.session.session_id == session.session_id:
                held.assignment.session.CopyFrom(session)
                if held.accept_acknowledged and held.result is None and lease_id not in waiting:
                    self.change_state(lease_id)

    def finish(self, lease_id):
        held, event_pb = self.runner.held[lease_id], self.runner.event_pb
        outcome, payload = event_pb.TASK_OUTCOME_SUCCEEDED, held.assignment.task.payload
        held.result = event_pb.TaskResult(lease_id=lease_id, outcome=outcome, payload=payload)
        self.runner.results_sent += 1
        self.send_result(lease_id)

    def send_result(self, lease_id):
        self.runner.held[lease_id].result_sent = True
        self.say_counted("result", lease_id, result=self.runner.held[lease_id].result)

    def forget(self, lease_id):
        self.runner.held.pop(lease_id)
        self.runner.results_acknowledged += 1

    def lose(self, lease_id):
        """The lease is gone; another task may take its place."""
        held = self.runner.held.pop(lease_id, None)
        if held is not None and held.accepted:
            self.runner.taken -= 1

    def heartbeat(self):
        self.heartbeat_id += 1
        live = [lease_id for lease_id, held in self.runner.held.items() if held.accepted and not held.result_sent]
        self.say(heartbeat=self.pb.Heartbeat(heartbeat_id=self.heartbeat_id, lease_ids=live))

    def say_counted(self, kind, lease_id, **frame):
        self.sequence += 1
        self.sent.append((self.sequence, kind, lease_id))
        self.say(sequence=self.sequence, **frame)

    def say(self, **frame):
        self.received_told = self.received
        self.outgoing.put(self.pb.AttachRequest(ack_sequence=self.received, **frame))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--proto", required=True, help="the directory with the protocol's files")
    parser.add_argument("--generated", required=True, help="a directory for the stubs")
    parser.add_argument("--target", required=True, help="such as unix:/run/dlite/runner.sock")
    parser.add_argument("--handler", required=True, help="the task type to execute")
    parser.add_argument("--tasks", type=int, default=10, help="how many to execute before it ends")
    parser.add_argument("--cut-after", type=int, default=0, help="results after which the link is cut once; 0: never")
    parser.add_argument("--slots", type=int, default=4, help="how many at once")
    parser.add_argument("--runner-id", default="python-1")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds after which it gives up")
    options = parser.parse_args()
    Runner(options, *generate(options.proto, options.generated)).run()


if __name__ == "__main__":
    main()
