import gc
import itertools

import pytest
import torch
from transformers import DynamicCache

from caa_core.data.pairs import ContrastPair
from caa_core.data.presets import presets
from caa_core.errors import InputError
from caa_core.model.prompts import Cue, Prompt, ask_pair, render
from caa_core.progress import finish
from caa_core.steering import batching, generation
from caa_core.steering.decoding import Decoding
from caa_core.steering.generation import BatchRow, generate, side_by_side
from caa_core.steering.interventions import Positions, Steer
from caa_core.vectors.vector import load_vector
from tests.helpers.reference import write

QUESTIONS = ["How was your day?", "Rain?", "Tell me about the long weekend that you had in the mountains."]


def prompts_for(model):
    return [render(model.tokenizer, [{"role": "user", "content": question}]) for question in QUESTIONS]


def vector_for(model, seed=0):
    return torch.randn(model.hidden_size, generator=torch.Generator().manual_seed(seed)) * 3


def ids_of(written):
    return [text.ids for text in written]


@pytest.mark.parametrize("rule", ["after-prompt", "all", "prompt", "last-prompt", "generated", "index:-2"])
def test_equals_a_loop_without_cache(tiny, rule):
    """Every decoding step is steered, the first written token included, whatever the padding and the cache."""
    positions = Positions.parse(rule)
    rows, expected = [], []
    for prompt, multiplier in zip(prompts_for(tiny), (1.0, -2.0, 1.5), strict=True):
        steer = Steer(vector_for(tiny), 2, multiplier)
        rows.append(BatchRow(prompt, (steer,), positions))
        length = len(prompt.ids)

        def covers(i, length=length):
            return i in range(*positions.span(length))

        expected.append(write(tiny, prompt.ids, [(2, multiplier * steer.vector)], covers, 12))
    assert ids_of(finish(generate(tiny, rows, Decoding(12)))) == expected


def test_the_first_written_token_is_steered(tiny_llama):
    prompt = prompts_for(tiny_llama)[0]
    changed = 0
    for seed in range(8):
        row = BatchRow(prompt, (Steer(vector_for(tiny_llama, seed), 2, 2.0),))
        plain, steered = finish(generate(tiny_llama, [BatchRow(prompt), row], Decoding(1)))
        changed += plain.ids != steered.ids
    assert changed


@pytest.mark.parametrize("rule", ["after-prompt", "index:-2"])
def test_prompts_that_rows_share_are_read_once_and_change_nothing(tiny, rule):
    steers = [(), (Steer(vector_for(tiny), 2, 1.5),), (Steer(vector_for(tiny, 1), 1, -2.0),)]
    rows = [BatchRow(prompt, steer, Positions.parse(rule)) for steer in steers for prompt in prompts_for(tiny)]
    sizes = []
    handle = tiny.blocks[0]._module.register_forward_hook(lambda _m, inputs, _o: sizes.append(inputs[0].shape[:2]))
    together = ids_of(finish(generate(tiny, rows, Decoding(12))))
    handle.remove()
    assert sizes[0][0] == 3 and sizes[1][0] == 9 and sizes[1][1] < 3
    assert together == [finish(generate(tiny, [row], Decoding(12)))[0].ids for row in rows]


def test_steering_behind_a_cue_begins_before_it(tiny_llama):
    prompt = ask_pair(tiny_llama.tokenizer, ContrastPair("Rain?", "Yes", "No", 1), cue=Cue("Answer:"))
    vector = vector_for(tiny_llama)
    rows = [BatchRow(prompt, (Steer(vector, 2, 1.5),)), BatchRow(prompt)]
    expected = write(tiny_llama, prompt.ids, [(2, 1.5 * vector)], lambda i: i >= prompt.length - 1, 8)
    assert finish(generate(tiny_llama, rows, Decoding(8)))[0].ids == expected


def test_a_row_is_the_same_alone_and_in_any_batch(tiny):
    rows = [BatchRow(prompt, (Steer(vector_for(tiny, i), i, 1.5),)) for i, prompt in enumerate(prompts_for(tiny))]
    together = ids_of(finish(generate(tiny, rows, Decoding(16))))
    alone = [finish(generate(tiny, [row], Decoding(16)))[0].ids for row in rows]
    assert together == alone
    sampled = Decoding(16, temperature=1.0, seed=3)
    assert ids_of(finish(generate(tiny, rows, sampled))) == [
        finish(generate(tiny, [row], sampled))[0].ids for row in rows
    ]


def take_turns(*jobs):
    """Advance several generators in turns, as the worker does, each from its own moment on. Returns their results."""
    results, waiting, turn = {}, dict(enumerate(jobs)), 0
    while waiting:
        for number, (moment, work) in list(waiting.items()):
            try:
                if turn >= moment:
                    next(work)
            except StopIteration as end:
                results[number] = end.value
                del waiting[number]
            except Exception as error:
                results[number] = error
                del waiting[number]
        turn += 1
    return [results[number] for number in range(len(jobs))]


def test_what_is_asked_at_the_same_time_is_written_together_and_as_alone(tiny, monkeypatch):
    """Jobs that come and go, with lengths, seeds, plans and prompts of their own."""
    asked = [
        (0, [BatchRow(prompt), BatchRow(prompt, (Steer(vector_for(tiny, i), i, 1.5),))], decoding)
        for i, (prompt, decoding) in enumerate(
            zip(prompts_for(tiny), (Decoding(14), Decoding(5, 1.0, 3), Decoding(9, 0.7, 4)), strict=True)
        )
    ]
    asked[1] = (2, *asked[1][1:])
    asked[2] = (4, *asked[2][1:])
    alone = [ids_of(finish(generate(tiny, rows, decoding))) for _, rows, decoding in asked]
    sizes = []
    plain = generation.steered_logits
    monkeypatch.setattr(
        generation, "steered_logits", lambda m, inputs, plan: sizes.append(len(inputs.ids)) or plain(m, inputs, plan)
    )
    found = take_turns(*((moment, generate(tiny, rows, decoding)) for moment, rows, decoding in asked))
    assert [ids_of(written) for written in found] == alone
    assert max(sizes) == 6


def told(jobs, order):
    """What each of several jobs yields when they advance in an order, and then one by one: counts of tokens and texts.

    Ends with the result or the error of each.
    """
    heard, jobs = {name: [] for name in jobs}, dict(jobs)
    while jobs:
        name, *order = order or sorted(jobs)
        if name in jobs:
            try:
                heard[name].append([(len(text.ids), text.text) for text in next(jobs[name])])
            except StopIteration as end:
                heard[name].append([(len(text.ids), text.text) for text in end.value])
                del jobs[name]
            except InputError as error:
                heard[name].append(error)
                del jobs[name]
    return heard


@pytest.mark.parametrize("lengths", [(2, 4), (3, 3)])
def test_everybody_hears_of_the_last_token_whoevers_turn_wrote_it(tiny_llama, lengths):
    """Two jobs in every order: each sees its text grow with every event, ends with it whole, and waits for nothing."""
    prompts = prompts_for(tiny_llama)

    def jobs():
        asked = zip("ab", prompts, lengths, strict=False)
        return {name: generate(tiny_llama, [BatchRow(prompt)], Decoding(length)) for name, prompt, length in asked}

    for order in itertools.product("ab", repeat=sum(lengths)):
        for name, (*events, result) in told(jobs(), order).items():
            counts = [count for ((count, _),) in events]
            assert counts == sorted(set(counts)) and counts[-1] == lengths["ab".index(name)], (order, name)
            assert events[-1] == result


def test_who_is_done_with_its_last_token_waits_for_nobody(tiny_llama):
    short, long = (generate(tiny_llama, [BatchRow(prompts_for(tiny_llama)[0])], Decoding(n)) for n in (2, 20))
    next(short), next(long), next(long)  # writes the last token of the short one
    next(short)
    with pytest.raises(StopIteration):
        next(short)
    long.close()


def test_numbers_that_overflow_in_anothers_turn_are_told(tiny_llama):
    prompt = prompts_for(tiny_llama)[0]
    broken = BatchRow(prompt, (Steer(torch.full((32,), torch.inf), 1, 1.0),), Positions("generated"))
    heard = told(
        {
            "broken": generate(tiny_llama, [broken], Decoding(10)),
            "good": generate(tiny_llama, [BatchRow(prompt)], Decoding(4)),
        },
        ["broken", "good", "good", "broken"],
    )
    assert [count for ((count, _),) in heard["good"]] == [1, 2, 3, 4, 4]
    assert len(heard["broken"]) == 2 and "overflowed" in str(heard["broken"][1])


def test_rows_of_one_prompt_with_plans_of_their_own(tiny):
    """Their prompt is read once, up to where the first of them is steered."""
    prompt, v = prompts_for(tiny)[2], vector_for(tiny)
    rules = ("after-prompt", "index:-4", "generated")
    rows = [BatchRow(prompt), *(BatchRow(prompt, (Steer(v, 1, 1.5),), Positions.parse(rule)) for rule in rules)]
    expected = [write(tiny, prompt.ids, [], lambda i: False, 8)]
    for rule in rules:
        steered = range(*Positions.parse(rule).span(len(prompt.ids)))
        expected.append(write(tiny, prompt.ids, [(1, 1.5 * v)], lambda i, steered=steered: i in steered, 8))
    assert ids_of(finish(generate(tiny, rows, Decoding(8)))) == expected


def test_numbers_that_overflow_fail_alone(tiny_llama):
    prompt = prompts_for(tiny_llama)[0]
    alone = finish(generate(tiny_llama, [BatchRow(prompt)], Decoding(10)))[0].ids
    broken = BatchRow(prompt, (Steer(torch.full((32,), torch.inf), 1, 1.0),))
    (good,), error = take_turns(
        (0, generate(tiny_llama, [BatchRow(prompt)], Decoding(10))), (3, generate(tiny_llama, [broken], Decoding(10)))
    )
    assert good.ids == alone
    assert "overflowed" in str(error)


def test_numbers_that_overflow_in_somebody_elses_turn_fail_where_they_were_asked_for(tiny_llama):
    prompt = prompts_for(tiny_llama)[0]
    alone = finish(generate(tiny_llama, [BatchRow(prompt)], Decoding(10)))[0].ids
    late = BatchRow(prompt, (Steer(torch.full((32,), torch.inf), 1, 1.0),), Positions("generated"))
    (good,), error = take_turns(
        (0, generate(tiny_llama, [BatchRow(prompt)], Decoding(10))), (1, generate(tiny_llama, [late], Decoding(10)))
    )
    assert good.ids == alone
    assert "overflowed" in str(error)


def test_out_of_memory_halves_the_batch_and_goes_on(tiny_llama, monkeypatch):
    rows = [
        BatchRow(prompt, (Steer(vector_for(tiny_llama, i), i, 1.5),))
        for i, prompt in enumerate(prompts_for(tiny_llama))
    ]
    expected = ids_of(finish(generate(tiny_llama, rows, Decoding(10))))
    third = tiny_llama.module.model.layers[2]
    calls = []

    def short_of_memory(module, inputs):
        calls.append(inputs[0].shape[0])
        if len(calls) > 4 and inputs[0].shape[0] > 1:
            raise torch.OutOfMemoryError("no room")

    hook = third.register_forward_pre_hook(short_of_memory)
    try:
        assert ids_of(finish(generate(tiny_llama, rows, Decoding(10)))) == expected
    finally:
        hook.remove()
    assert 1 in calls


def test_a_step_that_fails_midway_fails_alone_and_spoils_no_cache(tiny):
    """Whatever a block raises for one row, when other blocks have the step's keys and values already."""
    rows = [BatchRow(prompt, (Steer(vector_for(tiny, i), i, 1.5),)) for i, prompt in enumerate(prompts_for(tiny))]
    expected = [finish(generate(tiny, [row], Decoding(10)))[0].ids for row in rows]
    bad = BatchRow(rows[0].prompt, (Steer(torch.full((32,), 1e4), 1, 1.0),))

    def breaks(module, inputs):
        if inputs[0].shape[1] == 1 and inputs[0].mean((1, 2)).max() > 1e3:
            raise RuntimeError("a broken row")

    hook = tiny.blocks[3]._module.register_forward_pre_hook(breaks)
    try:
        *good, error = take_turns(*((0, generate(tiny, [row], Decoding(10))) for row in (*rows, bad)))
    finally:
        hook.remove()
    assert [text.ids for (text,) in good] == expected
    assert "a broken row" in str(error)


def test_a_prompt_too_large_for_memory_is_said_and_others_go_on(tiny_llama):
    prompt, *_ = prompts_for(tiny_llama)
    alone = finish(generate(tiny_llama, [BatchRow(prompt)], Decoding(10)))[0].ids

    def short_of_memory(module, inputs):
        if inputs[0].shape[1] > 100:
            raise torch.OutOfMemoryError("no room")

    hook = tiny_llama.module.model.layers[2].register_forward_pre_hook(short_of_memory)
    try:
        long = BatchRow(Prompt("", prompt.ids * (200 // len(prompt.ids))))
        (good,), error = take_turns(
            (0, generate(tiny_llama, [BatchRow(prompt)], Decoding(10))), (3, generate(tiny_llama, [long], Decoding(10)))
        )
    finally:
        hook.remove()
    assert good.ids == alone
    assert "Memory runs out with this text" in str(error)


@pytest.mark.parametrize("rule", ["after-prompt", "all", "index:7"])
def test_a_long_prompt_is_read_in_slices_and_changes_nothing(tiny, rule, monkeypatch):
    prompts = [Prompt("", p.ids * 3) for p in prompts_for(tiny)]
    prompts.append(prompts[0])  # what two rows share is read once, in slices too
    rows = [BatchRow(p, (Steer(vector_for(tiny, i), 1, 1.5),), Positions.parse(rule)) for i, p in enumerate(prompts)]
    expected = ids_of(finish(generate(tiny, rows, Decoding(6))))
    monkeypatch.setitem(batching.TOKENS_PER_BATCH, "cpu", 32)
    read = []
    hook = tiny.module.register_forward_pre_hook(
        lambda module, args, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    try:
        work = generate(tiny, rows, Decoding(6))
        assert not any(ids_of(next(work)))  # others have their turn before the first token
        assert ids_of(finish(work)) == expected
    finally:
        hook.remove()
    assert max(read) <= 32


def test_prompts_that_hold_the_pad_token_are_not_masked(tiny_llama):
    """The chat template's end token is the pad token here, as in SmolLM2."""
    prompt = prompts_for(tiny_llama)[0]
    assert tiny_llama.tokenizer.pad_token_id in prompt.ids
    expected = write(tiny_llama, prompt.ids, [], lambda i: False, 10)
    long = BatchRow(prompts_for(tiny_llama)[2])
    assert finish(generate(tiny_llama, [BatchRow(prompt), long], Decoding(10)))[0].ids == expected


def test_v_with_minus_v_and_multiplier_0_write_the_unsteered_text(tiny):
    prompt = prompts_for(tiny)[0]
    v = vector_for(tiny)
    rows = [
        BatchRow(prompt),
        BatchRow(prompt, (Steer(v, 2, 1.3), Steer(-v, 2, 1.3))),
        BatchRow(prompt, (Steer(v, 2, 0.0),)),
        BatchRow(prompt, (Steer(v, 2, 1.3),)),
    ]
    plain, cancelled, zero, steered = ids_of(finish(generate(tiny, rows, Decoding(12))))
    assert plain == cancelled == zero
    assert plain != steered


def test_sampling_draws_the_same_numbers_in_every_row(tiny_llama):
    prompt = prompts_for(tiny_llama)[0]
    a, b = finish(generate(tiny_llama, [BatchRow(prompt), BatchRow(prompt)], Decoding(20, temperature=1.0, seed=5)))
    other = finish(generate(tiny_llama, [BatchRow(prompt)], Decoding(20, temperature=1.0, seed=6)))[0]
    assert a.ids == b.ids != other.ids


def test_sampling_follows_the_softmax(tiny_llama):
    """Frequencies of the first token over many seeds, against its probabilities: as near as multinomial draws come."""
    prompt = prompts_for(tiny_llama)[1]
    logits = tiny_llama.module(torch.tensor([prompt.ids])).logits[0, -1]
    temperature = 2.0
    expected = (logits / temperature).softmax(-1)
    counts = torch.zeros_like(expected)
    draws = 300
    for seed in range(draws):
        text = finish(generate(tiny_llama, [BatchRow(prompt)], Decoding(1, temperature, seed)))[0]
        counts[text.ids[0] if text.ids else next(iter(tiny_llama.end_tokens))] += 1
    noise = torch.multinomial(expected, draws, replacement=True, generator=torch.Generator().manual_seed(0))
    floor = (torch.bincount(noise, minlength=len(expected)) / draws - expected).abs().sum() / 2
    assert (counts / draws - expected).abs().sum() / 2 < floor + 0.05


def test_end_tokens_end_a_row_and_only_that_row(tiny_llama, monkeypatch):
    prompt = prompts_for(tiny_llama)[0]
    free = finish(generate(tiny_llama, [BatchRow(prompt)], Decoding(8)))[0].ids
    monkeypatch.setattr(tiny_llama.module.generation_config, "eos_token_id", [0, free[3]])
    ended, other = finish(
        generate(
            tiny_llama, [BatchRow(prompt), BatchRow(prompt, (Steer(vector_for(tiny_llama), 1, 4.0),))], Decoding(8)
        )
    )
    assert ended.ids == free[: free.index(free[3])] and ended.done
    assert len(other.ids) == 8 and not other.done


def test_the_models_own_generation_settings_do_not_slip_in(tiny_llama, monkeypatch):
    prompt = prompts_for(tiny_llama)[0]
    before = finish(generate(tiny_llama, [BatchRow(prompt)], Decoding(10)))[0].ids
    for name, value in {"repetition_penalty": 5.0, "do_sample": True, "top_k": 3, "temperature": 0.1}.items():
        monkeypatch.setattr(tiny_llama.module.generation_config, name, value, raising=False)
    assert finish(generate(tiny_llama, [BatchRow(prompt)], Decoding(10)))[0].ids == before


def test_stopping_leaves_nothing_behind(tiny):
    prompt = prompts_for(tiny)[0]
    before = finish(generate(tiny, [BatchRow(prompt)], Decoding(6)))[0].ids
    work = generate(tiny, [BatchRow(prompt, (Steer(vector_for(tiny), 1, 5.0),))], Decoding(50))
    for _ in range(3):
        next(work)
    work.close()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tiny.module.modules())
    assert not tiny.nn.interleaver.mediators
    gc.collect()
    assert not any(type(thing) is DynamicCache for thing in gc.get_objects())
    assert finish(generate(tiny, [BatchRow(prompt)], Decoding(6)))[0].ids == before


def test_texts_stream_and_half_characters_are_held_back(tiny_llama):
    """No intermediate text may show the replacement character of an unfinished one."""
    prompt = prompts_for(tiny_llama)[0]
    lengths = []
    for (text,) in generate(tiny_llama, [BatchRow(prompt)], Decoding(30)):
        lengths.append(len(text.ids))
        assert not text.text.endswith("\ufffd")
    assert lengths == list(range(1, len(lengths) + 1))


def test_side_by_side(tiny_llama):
    prompt = prompts_for(tiny_llama)[0]
    steers = (Steer(vector_for(tiny_llama), 2, 2.0),)
    both = finish(side_by_side(tiny_llama, prompt, steers, Positions(), Decoding(6)))
    expected = ids_of(finish(generate(tiny_llama, [BatchRow(prompt), BatchRow(prompt, steers)], Decoding(6))))
    assert [both.summary()["unsteered_tokens"], both.summary()["steered_tokens"]] == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: Decoding(0), "between 1 and"),
        (lambda m: Decoding(temperature=-1), "temperature"),
        (lambda m: Decoding(seed=-1), "seed"),
        (lambda m: finish(generate(m, [BatchRow(Prompt("", (5,) * 600))], Decoding(4))), "prompt has 600 tokens"),
        (
            lambda m: finish(generate(m, [BatchRow(Prompt("", (5,)), (Steer(torch.ones(32), 9, 1.0),))], Decoding(4))),
            "no layer 9",
        ),
        (
            lambda m: finish(generate(m, [BatchRow(Prompt("", (5,)), (Steer(torch.ones(8), 1, 1.0),))], Decoding(4))),
            "belongs to another model",
        ),
    ],
)
def test_bad_input_is_refused(tiny_models, make, message):
    with pytest.raises(InputError, match=message):
        make(tiny_models["gpt2"])


def test_joy_is_seen_in_the_embedded_models_words(embedded):
    """On the real model: over several prompts, the steered answers hold more happy words than the unsteered ones."""
    preset = presets()["joy"]
    steer = Steer(load_vector(preset.vector_file).at(preset.layer), preset.layer, preset.multiplier)
    questions = [
        "How was your day?",
        "What do you think of rain?",
        "Tell me about your weekend.",
        "Describe the city you live in.",
        "Tell me about the ocean.",
    ]
    prompts = [render(embedded.tokenizer, [{"role": "user", "content": q}]) for q in questions]
    rows = [*(BatchRow(p) for p in prompts), *(BatchRow(p, (steer,)) for p in prompts)]
    texts = [text.text.lower() for text in finish(generate(embedded, rows, Decoding(40)))]
    happy = ("joy", "glad", "happy", "wonder", "beaut", "amazing", "love", "delight", "magic", "laugh", "smil", "!")
    count = [sum(text.count(word) for word in happy) for text in texts]
    half = len(questions)
    assert sum(count[half:]) >= 2 * sum(count[:half]), list(zip(texts, count, strict=True))
