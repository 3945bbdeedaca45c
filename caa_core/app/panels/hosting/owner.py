"""What who runs the app sees behind the owner's key: who is here, in counts, jobs, memory; and what they may stop."""

import gradio as gr

from caa_core.app.panels.common import QUIET, Updates, guarded
from caa_core.app.panels.page import Page
from caa_core.app.sessions import AtWork, Session
from caa_core.app.studio import Studio
from caa_core.errors import InputError
from caa_core.limits import check_owner, is_public, owner_key

NAME = "owner"
SECONDS_BETWEEN_LOOKS = 5
NO_JOB = "Nothing runs now."
STOPPED = "Who runs this app has stopped it; what had come by then is kept."
CALL = "call-"


class OwnerPanel:
    """The section; it is not there on a public app without an owner's key."""

    def __init__(self, page: Page):
        self.page, self.studio = page, page.studio
        may = not is_public() or bool(owner_key())
        with gr.Accordion("Who runs this app", open=False, visible=may, elem_id=NAME):
            with gr.Row(elem_classes="ask") as self.outside:
                key = gr.Textbox(
                    label="Owner's key", type="password", visible=is_public(), max_length=200, elem_id=f"{NAME}-key"
                )
                show = gr.Button("Show who is here", size="md", scale=0, min_width=190, elem_id=f"{NAME}-show")
            with gr.Column(visible=False) as self.inside:
                self.counts = gr.Markdown(elem_id=f"{NAME}-counts")
                self.closed = gr.Checkbox(False, label="Let nobody new in", elem_id=f"{NAME}-closed")
                with gr.Row(elem_classes="ask"):
                    self.jobs = gr.Dropdown([], label="Jobs", elem_id=f"{NAME}-jobs")
                    self.stopper = gr.Button(
                        "Stop this job", size="md", scale=0, min_width=140, elem_id=f"{NAME}-stop", interactive=False
                    )
        self.timer = gr.Timer(SECONDS_BETWEEN_LOOKS, active=False)
        now = [self.counts, self.jobs, self.stopper]
        whole = [key, self.outside, self.inside, self.closed, *now, self.timer]
        for asked in (show.click, key.submit):
            asked(self.enter, key, whole, **QUIET)
        self.key = key
        self.timer.tick(self.look, self.jobs, now, queue=False, **QUIET)
        self.closed.input(self.close, self.closed, self.closed, **QUIET)
        self.stopper.click(self.stop, self.jobs, now, **QUIET)

    @guarded
    def enter(self, request: gr.Request, key: str | None) -> Updates:
        """Show all to who has the owner's key."""
        session = self.page.session(request)
        self.studio.owner.open(key or "", session.address, lambda given: check_owner(given, "see who is here"))
        session.is_owner = True
        return {
            self.key: "",
            self.outside: gr.Row(visible=False),
            self.inside: gr.Column(visible=True),
            self.timer: gr.Timer(active=True),
            self.closed: self.studio.sessions.closed,
            **self._now(None),
        }

    @guarded
    def look(self, request: gr.Request, chosen: str | None) -> Updates:
        """Who and what is here now."""
        self._check(request)
        return self._now(chosen)

    @guarded
    def close(self, request: gr.Request, closed: bool) -> bool:
        """Let nobody new in, or everybody again."""
        self._check(request)
        self.studio.sessions.closed = bool(closed)
        return self.studio.sessions.closed

    @guarded
    def stop(self, request: gr.Request, chosen: str | None) -> Updates:
        """Stop a job, and say so to whoever waits for it."""
        self._check(request)
        found = next((one for one in self.studio.sessions.at_work() if one.number == chosen), None)
        if not found:
            raise InputError("Choose a job that runs.")
        found.job.stop(STOPPED)
        return self._now(None)

    def _check(self, request: gr.Request) -> Session:
        session = self.page.session(request)
        if not session.is_owner:
            raise InputError("Give the owner's key first.")
        return session

    def _now(self, chosen: str | None) -> Updates:
        jobs = [(f"{_called(one)}, {one.seconds:.0f} s", one.number) for one in self.studio.sessions.at_work()]
        kept = chosen if any(chosen == number for _, number in jobs) else None
        return {
            self.counts: _counts(self.studio, len(jobs)),
            self.jobs: gr.Dropdown(jobs, value=kept, info=None if jobs else NO_JOB),
            self.stopper: gr.Button(interactive=bool(jobs)),
        }


def _called(one: AtWork) -> str:
    """What a job is: of which panel, or a program's call."""
    return "a program's call" if one.panel.startswith(CALL) else one.panel


def _counts(studio: Studio, jobs: int) -> str:
    said = studio.health
    here, memory = said["sessions"], said["memory"]
    classes = ", ".join(f"{room.rules.code} with {len(room.parts)}" for room in studio.classes.held)
    lines = [
        f"People here now: **{here['here']}**; of **{here['kept']}** something is kept.",
        f"Classes: **{classes or 'none'}**",
        f"Jobs: **{jobs}**",
        f"Memory: **{memory['used_mb']:,} MB**, {studio.sessions.held_mb:,.0f} MB of it for what people have made; "
        f"{memory['free_mb']:,} MB are free.",
    ]
    return "\n".join(f"- {line}" for line in lines)
