"""Which part of a completion answers? Not thinking, further turns or what is before the final heading (docs/scoring.md §3)."""

import re

from fino1.tasks.record import FINAL

_TURN = re.compile(
    r"<\|(?:im_end|im_start|eot_id|end|endoftext|end_of_text|start_header_id|user|assistant|eom_id|return|start|end_of_turn|turn_end)\|>"
    r"|<(?:end_of_turn|start_of_turn|/?s|eos|turn\||\|turn)>|<[｜|](?:User|end▁of▁sentence)[｜|]>|\[/?INST\]|<user>"
)
_CHANNEL, _RETURN = "<|channel|>", "<|return|>"
_ROLE = re.compile(r"[\s<|>/a-z_]*(?:assistant|model|bot)?(?:<\|end_header_id\|>|<\|message\|>)?\s*", re.IGNORECASE)
_NEW_QUESTION = re.compile(
    r"^[ \t]{0,3}(?:\#{1,6} ?)?(?:\*\*)?(?:(?:(?:next|new|user|follow-?up) )?question|context|user|human|q|input|instruction"
    r"|problem|example|exercise|passage|document|system)(?:(?: ?[0-9]{1,3})?(?:\*\*)?\s?:|\s[0-9]{1,3}\.\s)"
    r"|^\[(?:question|context|user|human|instruction)\]"
    r"|^\#{1,6} ?(?:question|context|user|human|input|instruction)s?(?: ?[0-9]{1,3})?[ \t:]*$",
    re.IGNORECASE | re.MULTILINE,
)
_HINTS = (
    "question", "context", "user", "human", "q:", "q ", "\nq", "input", "instruction", "problem", "example", "exercise",
    "passage", "document", "system",
)  # fmt: skip
_REPLY = re.compile(
    r"^[ \t]{0,3}(?:\#{1,6} ?)?(?:\*\*)?(?:answer|assistant|response|output|a|solution)(?:\*\*)?\s?:",
    re.IGNORECASE | re.MULTILINE,
)
_THOUGHT = (
    "think|thinking|thoughts?|reasoning|reason|rationale|scratch_?pad|analysis|reflection|cot|chain_of_thought"
    "|(?:thought|thinking|reasoning)_process|(?:inner|internal)_(?:monologue|thoughts?)"
)
_MARK = re.compile(
    rf"<\|?(?P<close>/?)(?:[a-z]{{1,12}}:)?(?:{_THOUGHT})(?:\s[^<>\n]{{0,40}})?\|?>|<\|(?P<begin>begin|end)_of_(?:thought|thinking|reasoning)\|>"
    r"|\[(?P<shut>/?)(?:THINK|THINKING|REASONING)\]|(?P<open>◁think▷)|(?P<ended>◁/think▷)",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"\[/?(?:think|reasoning)", re.IGNORECASE)
_QUOTE_MARK = re.compile(r"^ {0,3}> ?", re.MULTILINE)
_SPACES = re.compile(" {2,}")
_SAYS_SOMETHING = re.compile(r"[0-9]|\b(?:yes|no|true|false)\b", re.IGNORECASE)


def take_final_part(completion: str) -> str:
    """Take the part of a completion that answers: all of it where it has no thinking, further turns or final heading."""
    text = completion
    if _RETURN in text:
        text = text.partition(_RETURN)[0]
    if _CHANNEL in text:  # gpt-oss: everything but the final channel is thinking
        text = text.partition(f"{_CHANNEL}final<|message|>")[2]
    text = _drop_further_turns(text)
    if "<" in text or "◁" in text or ("[" in text and _BRACKETED.search(text)):
        text = _drop_thinking(text)
    if FINAL in text:
        text = text.rpartition(FINAL)[2]
    if ">" in text:
        text = _QUOTE_MARK.sub("", text)
    if text.isprintable():  # one line
        text = text.strip()
    else:
        text = "\n".join([stripped for line in text.splitlines() if (stripped := line.strip())])
    return _SPACES.sub(" ", text) if "  " in text else text


def _drop_further_turns(text: str) -> str:
    """Cut a completion at the mark of a further turn, and where it goes on with a question of its own."""
    if "<" in text or "INST]" in text:
        at = 0
        while turn := _TURN.search(text, at):
            if text[at : turn.start()].strip():
                text = text[at : turn.start()]
                at = 0
                break
            at = _ROLE.match(text, turn.end()).end()  # type: ignore[union-attr]
        text = text[at:]
    if "\n" in text and (":" in text or "#" in text or "\n[" in text):
        lower = text.lower()
        for hint in _HINTS:
            if hint in lower:
                return _drop_questions(text)
    return text


def _drop_questions(text: str) -> str:
    begins = max(0, text.find(FINAL))
    if _NEW_QUESTION.match(text.lstrip()) and (reply := _REPLY.search(text)):
        begins = max(begins, reply.end())
    for question in _NEW_QUESTION.finditer(text, begins):
        if _SAYS_SOMETHING.search(text, begins, question.start()):
            return text[: question.start()]
    return text


def _drop_thinking(text: str) -> str:
    """Drop what stands in thinking marks: between two, before a closing one without an opening one, behind one left open."""
    kept: list[str] = []
    at, depth = 0, 0
    for mark in _MARK.finditer(text):
        closes = (
            mark["close"] == "/" or (mark["begin"] or "").lower() == "end" or mark["shut"] == "/" or bool(mark["ended"])
        )
        if not closes:
            if not depth:
                kept.append(text[at : mark.start()])
            depth = 1
        else:
            if not depth:
                kept.clear()
            depth = 0
        at = mark.end()
    return "".join(kept) if depth else "".join([*kept, text[at:]])
