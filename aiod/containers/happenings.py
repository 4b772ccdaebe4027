"""The events that containers cause, with dockerd's actions and attributes.

Pure functions of records; must not know how events are kept. An event's `seq` is 0 until the
log has numbered it.
"""

import time

from aiod.store.records import ContainerRecord, EventRecord, ExecRecord


def event(record: ContainerRecord, action: str, **attributes: str) -> EventRecord:
    """Something happened to `record`: its labels, image and name are attributes too."""
    return EventRecord(
        seq=0,
        time_ns=time.time_ns(),
        type="container",
        action=action,
        actor_id=record.id,
        attributes={
            **(record.config.Labels or {}),
            "image": record.image_name,
            "name": record.name,
            **attributes,
        },
    )


def died(record: ContainerRecord) -> EventRecord:
    """The container's run is over; the attributes are those of dockerd's `die`."""
    state = record.state
    seconds = max(0, state.finished_ns - state.started_ns) // 10**9 if state.started_ns else 0
    happened = event(record, "die", exitCode=str(state.exit_code), execDuration=str(seconds))
    # The time of the exit, which may be long before anybody could see it; followers go by seq.
    return EventRecord(
        seq=0,
        time_ns=state.finished_ns or happened.time_ns,
        type=happened.type,
        action=happened.action,
        actor_id=happened.actor_id,
        attributes=happened.attributes,
    )


def exec_event(record: ContainerRecord, exec_: ExecRecord, action: str) -> EventRecord:
    """`exec_create: sh -c x`, `exec_start: ...` or `exec_die`, which has the exit code."""
    if action == "exec_die":
        code = "" if exec_.exit_code is None else str(exec_.exit_code)
        return event(record, action, execID=exec_.id, exitCode=code)
    command = " ".join(exec_.config.Cmd or ())
    return event(record, f"{action}: {command}", execID=exec_.id)


def pruned(reclaimed: int) -> EventRecord:
    """Containers were pruned, and so many bytes are free again."""
    told = {"reclaimed": str(reclaimed)}
    return EventRecord(0, time.time_ns(), "container", "prune", "", told)
