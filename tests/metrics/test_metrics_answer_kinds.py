"""Kinds of final answers, each with many variants: what is right, what is not, and that both hold for all scorers."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path

import pytest

from vaebench.metrics import answers
from vaebench.metrics.answers import SCORERS, grade
from vaebench.metrics.latex_answers import normalise

DATA = os.environ.get("VAEBENCH_DATA", "")
SHARED = Path(DATA).parent / "cases" / "answers.jsonl"


def graded(pairs: list[tuple[str, str]], scorer: str) -> tuple[list[str], list[bool]]:
    """The final answers to pairs (gold, text) and whether they are right."""
    if scorer == "math_verify":
        pytest.importorskip("math_verify")
    golds, texts = zip(*pairs, strict=True)
    final, right, _ = grade(texts, golds, scorer, seconds=20, track=lambda done, total: None)
    return list(final), right.tolist()


# Word problems. By kind: (final answer, texts that come to it).

NUMBERS = {
    "calculation": (
        (
            *("60", "#### 20 + 40 = 60", "#### 3 * 20 = 60", "#### $20 + $40 = $60"),
            *("Answer: 20 + 40 = 60", "A: 3 x 20 = 60"),
        ),
        ("60", "The answer is 20+40=60.", "So the answer is 3 \u00d7 20 = $60.", "answer: (10 + 10) * 3 = 60 dollars"),
        ("60", "\\boxed{20 + 40 = 60}", '{"answer": "20 + 40 = 60"}', "<answer>120 / 2 = 60</answer>", "#### x = 60"),
        ("9", "Answer: 16 - 3 - 4 = 9", "#### **16 - 3 - 4 = 9** eggs", "The answer is $16-3-4=9$."),
        ("18", "Answer: 16 - 3 - 4 = 9 eggs. 9 * 2 = 18"),  # the working, not the answer, stands behind the mark
        ("18", "The answer is 18 because 9 * 2 = 18 and 1 + 1 = 2", "The answer is 18, since 3 * 6 = 18"),
        ("20+40", "#### 20 + 40", "Answer: 20 + 40", "\\boxed{20+40}", '{"answer": "20 + 40"}'),
        ("(2*9)-3", '{"answer": "(2 * 9) - 3"}'),
    ),
    "thousands": (
        (
            *("9500", "#### 9{,}500", "#### 9\\,500", "#### 9\\!500", "#### 9,\\!500", "#### 9,500"),
            *("#### 9 500", "#### 9500.00"),
        ),
        (
            *("9500", "The total is $9{,}500", "The total is $9{,}500$.", "it is 9\\,500 in all"),
            *("It costs $9 500.", "#### $9,500"),
        ),
        ("1234567", "#### 1,234,567", "#### 1 234 567", "#### 1{,}234{,}567", "#### 1\\,234\\,567", "#### 12,34,567"),
        ("1234567", "#### 1.234.567", "answer: 1,234,567.0"),
        ("70000", "\\boxed{70{,}000}", '{"answer": "$70,000"}', '{"answer": "70 000 dollars"}'),
    ),
    "decimal comma": (("45.27", "#### 45,27", "#### 45.27"), ("45", "#### 45,00"), ("4,5,6", "#### 4,5,6")),
    "fraction": (
        (
            *("0.75", "#### 3/4", "#### \\frac{3}{4}", "#### $\\frac34$", "so she has 3/4"),
            *("The answer is 3/4 of it.", "A: 6/8"),
        ),
        ("1/3", "#### 1/3", "#### 2/6", "\\boxed{\\dfrac{1}{3}}"),
        (
            *("1.5", "#### 1 1/2", "#### 1\\frac{1}{2}", "The answer is 1 1/2 cups."),
            *("\\boxed{1 \\frac12}", "it takes 1 1/2"),
        ),
        ("-0.5", "#### -1/2", "the answer is negative 1/2"),
        ("0.9", "#### 18/20"),
    ),
    "exponent": (
        ("1500", "#### 1.5e3", "#### 1.5E+3", "#### 1.5 x 10^3", "#### 1.5 \\times 10^{3}", "\\boxed{1.5 \\cdot 10^3}"),
        ("0.002", "#### 2e-3", "#### 2 * 10^-3", "\\boxed{2 \\times 10^{-3}}"),
        ("2", '{"answer": "2E + 11"}'),  # a sum
    ),
    "time and ratio": (
        ("8:30", "#### 8:30", "#### 8:30 pm", '{"answer": "8:30 am"}', "They meet at 8:30"),
        ("2", "#### 2:00 pm", '{"answer": "2:00"}'),
        ("3:4", "the answer is 3:4"),
    ),
    "sign": (
        (
            *("-5", "The answer is negative 5.", "#### minus 5", "#### -5", "#### -$5"),
            *("#### $-5", "Answer: Negative 5 degrees"),
        ),
        ("5", "it was 10 minus 5", "so 10 - 5", "10-5", "#### +5"),
    ),
    "thinking": (
        ("18", "<think>the answer is 5? no</think> She earns 18 dollars.", "<think>#### 5</think>\n#### 18"),
        (
            *("18", "\\boxed{5}</think>\n\nThe answer is \\boxed{18}"),
            *("<thinking>A: 5</thinking>A: 18", "<reasoning>5</reasoning>18"),
        ),
        ("18", "\u25c1think\u25b75 or 18\u25c1/think\u25b7 It is 18", "<think>It is 5.</think>\n<answer>18</answer>"),
        ("18", "<think>so it is 18</think>", "<think>so it is 18</think>\n"),  # the thought is all there is
    ),
    "JSON and tags": (
        (
            *("18", '{"final_answer": "18", "steps": 3}'),
            *("{'answer': '18', 'steps': 3}", "{'final_answer': 18, 'steps': 3}"),
        ),
        (
            *("18", '{"Final Answer": 18, "steps": 3}'),
            *('{"steps": 3, "answer": 18}', '```json\n{"answer": "18"}\n```\n3 steps'),
        ),
        ("18", "<answer>18</answer> took 3 steps", "<ANSWER>\n18\n</ANSWER> 3", "<final_answer>$18</final_answer> 3"),
        ("18", "[ANSWER]18[/ANSWER] in 3", "<answer>5</answer> no, <answer>18</answer> in 3 steps"),
        ("18", "<answer>\\boxed{18}</answer> 3", "<answer>She has 18 eggs</answer> 3"),
    ),
    "next line": (
        (
            *("18", "The final answer is:\n18\nI used 3 steps.", "**Answer:**\n\n$18$ in 3 steps"),
            *("Answer:\n\\(18\\)\n3", "####\n18\n"),
        ),
        ("20", "Answer:\n1. Add 5 and 15\n2. that is 20"),  # a list
    ),
    "run-on": (
        (
            "18",
            "The answer is 18.\nQuestion: How many are left?\nThe answer is 10.",
            "#### 18\n\nQ: 5 more?\nA: 10\n#### 10",
        ),
        ("18", "\\boxed{18}\n\nProblem: What is 5 + 5?\nSolution: \\boxed{10}", "A: 18\nQ: And?\nA: 10"),
        ("18", '{"answer": "18"}\n\n## Question 2:\nWhat?\n{"answer": "10"}', "<answer>18</answer>\nHuman: and\n10"),
        ("18", "#### 18<|im_end|>\n<|im_start|>user\n10", "#### 18</s>#### 10", "#### 18<|eot_id|>10"),
        (
            "18",
            "Question: How many?\nAnswer: 18",
            "Question: 5 of 7?\nShe has 18",
            "Q: 5 or 7?\nA: 18",
        ),  # it repeats ours
    ),
    "headings": (
        ("20", "#### 3. Add them up\n20 in all", "#### 2) Add\nso 20", "#### 10: what is left\n20 in all"),
        ("18", "#### 18.\nThat is all, 3 steps", "#### 18.", "#### 18)"),
    ),
    "no answer": (
        ("", "\\boxed{18}, then \\boxed{27", "\\boxed{", '{"answer": "Cannot be determined"} 5', "none", ""),
    ),
}
FINALS = [(final, text) for kinds in NUMBERS.values() for final, *texts in kinds for text in texts]


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers(kind):
    expected = [(final, text) for final, *texts in NUMBERS[kind] for text in texts]
    found, _ = graded([("0", text) for _, text in expected], "gsm8k_number")
    assert list(zip(found, [text for _, text in expected], strict=True)) == expected


def test_a_number_is_right_for_its_gold_and_no_other():
    golds = (
        *("60", "20", "40", "3", "18", "9500", "9", "500", "0.75", "4", "8", "30", "45", "-5", "5", "27"),
        *("1500", "10"),
    )
    for gold in golds:
        _, right = graded([(gold, text) for _, text in FINALS], "gsm8k_number")
        assert right == [final == gold for final, _ in FINALS], gold


# Mathematics. Ways to write one answer, by rows; no two rows are equal.

SAME = (
    (r"\frac{3}{2}", "1 1/2", r"1\frac{1}{2}", r"1 \frac12", "3/2", "1.5", r"1\tfrac{1}{2}", "1 1/2 cups", "1.50."),
    (r"\frac{11}{2}", "5 1/2", "11/2", "5.5"),
    (r"\frac{7}{2}", r"3 1/2 \text{ cups}", r"3\frac12\text{ cups}", "3.5 hours", r"\frac{7}{2} \textbf{ meters}"),
    (r"-\frac{9}{4}", "-2 1/4", r"-2\frac{1}{4}", "-2.25", r"\frac{-9}{4}"),
    (r"\sqrt[3]{2}", r"\sqrt[3]2", r"\sqrt[3](2)", r"\sqrt[3] 2"),
    (r"\sqrt{2}", r"\sqrt(2)", r"\sqrt2", r"\sqrt 2", "sqrt(2)", "√2", "√(2)"),
    (r"\sqrt{x+1}", r"\sqrt(x+1)", "sqrt(x+1)"),
    (r"2\sqrt{3}", r"2 \cdot \sqrt{3}", "2*sqrt(3)", r"2 \times \sqrt3", "2√3", r"x = 2\sqrt{3}."),
    ("4210_{5}", "4210_5", r"4210_{ 5 }", r"4210_5."),
    ("1010_{10}", "1010_10"),
    ("x^{2}+1", "x^2+1", "x^{2} + 1.", "$x^2+1$"),
    (
        *("5", "5.", "x = 5.", "x=5", r"5 \text{ dollars}", "5 dollars", r"\$5", "5.0", r"\text{5}", "{5}"),
        *(r"5^\circ", "5 cm^2"),
    ),
    (
        *("5", r"x \in 5", r"5\text{ cm}^2", r"5\mbox{ cm}^2", r"5\textnormal{ miles}", "5 square units"),
        *("2+3=5", "x = 2+3 = 5"),
    ),
    (r"28\%", "28 percent", "28%", "28", "28 pct", "28 percentage", r"28 \%", r"28\text{ percent}"),
    (r"\frac{2}{3}", r"\frac{2}{3}.", "2/3", r"\frac23", r"\dfrac 2 3", r"\frac{4}{6}", r"k = \frac{2}{3}"),
    ("10000", "10 000", "10,000", r"10{,}000", r"10\,000", r"10,\!000", "10 000 dollars", "1e4", r"1 \times 10^4"),
    (r"11,\! 111,\! 111,\! 100", "11111111100", "11,111,111,100", r"11{,}111{,}111{,}100", "11 111 111 100"),
    (r"7, -2, \text{ and } -5", "7, -2, -5", "7,-2,-5", "7, -2 and -5", r"7,-2\text{ and }-5", "7, -2, and -5"),
    (r"1 \text{ or } 2", "1, 2", "1 or 2", r"1\text{ and }2", r"1,\ 2"),
    (r"\pi", "π", r" \pi "),
    (r"\frac{\pi}{2}", r"\pi/2", "π/2", r"\dfrac{\pi}{2}"),
    (r"-\frac{\pi}{2}", r"\frac{-\pi}{2}", r"-\pi/2"),
    (r"\frac{3x}{4}", "3x/4"),
    (r"2\pi r", "2πr", r"2 \pi r", r"2 \cdot \pi r"),
    (
        *(r"\left( 3, \frac{\pi}{2} \right)", r"(3, \frac{\pi}{2})"),
        *(r"\bigl(3,\frac{\pi}{2}\bigr)", r"( 3 , \frac{\pi}{2} )"),
    ),
    (r"(1,\frac{9}{2})", "(1,4.5)", "(1.0, 9/2)", r"(1,4\frac{1}{2})"),
    (r"(\frac{3}{5},\frac{8}{3}]", "(0.6,8/3]", r"\left(\frac35, \frac83\right]"),
    (r"[0,\infty)", "[0, ∞)", r"\left[0, \infty\right)", r"x \in [0,\infty)"),
    (r"(-\infty,0)\cup(0,\infty)", "(-\\infty, 0) \u222a (0, \\infty)"),
    (r"x \leq 3", "x <= 3", r"x \le 3", "x ≤ 3", r"x \leqslant 3"),
    (r"x \neq 3", r"x \ne 3", "x != 3", "x ≠ 3"),
    (r"\text{(B)}", "B", "(B)", r"\textbf{(B)}", r"\mathrm{B}"),
    (r"\text{Evelyn}", "Evelyn", r"\mathrm{Evelyn}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix}1\\2\end{bmatrix}"),
    (r"\begin{pmatrix} \frac12 & 3 \\ 0 & 1 \end{pmatrix}", r"\begin{pmatrix}0.5&3\\0&1\end{pmatrix}"),
    (r"\{1,2\}", r"\left\{1, 2\right\}", r"\lbrace 1,2 \rbrace"),
    (r"\log_{2} 8x", r"\log_2 8x"),
    (r"\sin x", r" \sin  x"),
    (r"3 \pm 2\sqrt{2}", "3 ± 2√2", r"3\pm 2 \cdot \sqrt2"),
    ("12", r"12^{\text{th}}", r"12\text{th}", r"12^\text{th}"),
    ("1, 234",),
    ("1234", "1,234"),
    (r"\emptyset", r"\varnothing", "∅"),
    ("1_3",),
    ("200000000000", "2e+11", r"2 \times 10^{11}"),
    (r"\frac{1}{x}", "1/x"),
    (r"3\cdot\frac{1}{2}",),
)


def rows_that_differ() -> list[tuple[str, ...]]:
    merged: dict[str, tuple[str, ...]] = {}
    for row in SAME:
        merged[row[0]] = merged.get(row[0], ()) + row
    return list(merged.values())


@pytest.mark.parametrize("row", SAME, ids=lambda row: row[0])
def test_ways_to_write_one_answer(row):
    assert {text: normalise(text) for text in row} == dict.fromkeys(row, normalise(row[0]))
    assert normalise(normalise(row[0])) == normalise(row[0])


def test_no_two_answers_are_one():
    forms = [normalise(row[0]) for row in rows_that_differ()]
    assert len(set(forms)) == len(forms)
    assert all(forms)
    assert normalise("2e + 11") != normalise("2e+11")  # a sum


@pytest.mark.parametrize("scorer", ["boxed", "math_verify"])
def test_what_is_right_and_what_is_not(scorer):
    rows = rows_that_differ()
    same = [(row[0], rf"so it is \boxed{{{text}}}") for row in rows for text in row]
    other = [(a[0], rf"\boxed{{{b[-1]}}}") for a, b in itertools.pairwise(rows)]
    finals, right = graded(same + other, scorer)
    assert [pair for pair, good in zip(same, right[: len(same)], strict=True) if not good] == []
    assert [pair for pair, good in zip(other, right[len(same) :], strict=True) if good] == []
    assert len({(gold, final) for (gold, _), final in zip(same, finals[: len(same)], strict=True)}) == len(rows)


MARKS = (
    *(r"\boxed{%s}", r"First \boxed{7}, then \boxed{%s}.", r"The answer is $\boxed{%s}$.", r"\fbox{%s}"),
    *("<answer>%s</answer> in 7 steps", '{"final_answer": "%s", "steps": 7}'),
    *(r"<think>\boxed{7}</think> so \boxed{%s}", r"<think>\boxed{7}</think> <answer>$%s$</answer>"),
    *("\\boxed{%s}\n\nProblem: 3 + 4?\n\\boxed{7}", r"\boxed{%s}<|im_end|>\boxed{7}"),
)


@pytest.mark.parametrize("scorer", ["boxed", "math_verify"])
def test_where_the_answer_stands(scorer):
    answers = ("x^{2}+1", "1 1/2", "(1,2)", "5.", r"\\frac{1}{3}")
    pairs = [(answer, mark % answer) for answer in answers for mark in MARKS]
    other = [("7", text) for _, text in pairs] + [("27", r"\boxed{18}, then \boxed{27"), ("5", "5, \\boxed{")]
    _, right = graded(pairs + other, scorer)
    assert [pair for pair, good in zip(pairs, right, strict=False) if not good] == []
    assert not any(right[len(pairs) :])


# Pairs of which it is known how public graders judge: the harness, Hendrycks et al., Minerva, Qwen2.5-Math, math-verify

KNOWN = (
    *(
        ("18", "x=18", True),
        (r"\frac{1}{12}", "1/12", True),
        (r"(1,\frac{9}{2})", "(1,4.5)", True),
        ("16", "$16.0$", True),
    ),
    *((r"\frac{1}{2}", "0.5", True), (r"\frac{1}{2}", ".5", True), (r"\frac{1}{6}", r"\frac1{6}", True)),
    *((r"\frac{10}{9}", "10/9", True), (r"-\frac{10}{9}", "-10/9", True), ("7425000", "7,425,000", True)),
    *(("1000.99", "1,000.99", True), ("1000.99", r"\$1,000.99", True), ("0.4", ".4", True), ("1", r"\frac3{3}", True)),
    *((r"\sqrt{3}", r"\sqrt3", True), (r"\frac{1}{3}", r"\frac{1}{3} \text{meters}", True), ("11", "x=11", True)),
    *((r"15\mbox{ cm}^2", "15", True), ("204_5", "204_{5}", True), (r"f(2) < f(1) < f(4)", "f(2)<f(1)<f(4)", True)),
    *(("(6,31,-1)", "(6, 31, -1)", True), (r"1 \pm \sqrt{19}", r"1\pm\sqrt{19}", True), ("-2,1", "-2, 1", True)),
    *(
        (r"\frac{9}{4}\pi", r"\frac94\pi", True),
        (r"12\text{ and }13", "12,13", True),
        ("x = 11", "x = 5+5+1 = 11", True),
    ),
    *(("5", "6", False), ("0.28", "28", False), (r"\frac{28}{100}", "28", False), ("(0,9)", "[0,9)", False)),
    *(
        ("[0,9)", "[0,1)", False),
        ("x > 5", "x < 5", False),
        ("2", r"\frac{1+\sqrt{5}}{2}", False),
        ("1", r"1\sqrt{19}", False),
    ),
    *(("x+2n+1", "x+1", False), ("4", "4 4/9", False), (r"\frac{40}{9}", "4 4/9", True), ("10", "11 7/6", False)),
    *(("2x+4y-3", "3", False), ("2x + z = 1", "1", False), ("5.5", "5.51", False), ("6+9.2i", "6.0+9.1i", False)),
)
BY_MATHEMATICS = (
    *((r"\frac{x+2}{7}", r"\frac{x}{7}+\frac{2}{7}", True), ("2x(15x^2-4x+10)", "2x(10-4x+15x^2)", True)),
    *(
        ("7(x+3)(x-3)", "7(x-3)(x+3)", True),
        ("x<1", "-x>-1", True),
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}", True),
    ),
    *(("1,2", "2,1", True), (r"\tan^2(y)+1", r"\sec^2(y)", True), ("x+2n+1", "2n+x+1", True), ("2^{10}", "1024", True)),
    *(("10^{3}", "1000", True), (r"\frac{14}{3}", r"4+\frac{2}{3}", True), ("5", "2+4", False)),
)


@pytest.mark.parametrize("scorer", ["boxed", "math_verify"])
def test_pairs_that_public_graders_judge(scorer):
    known = KNOWN + (BY_MATHEMATICS if scorer == "math_verify" else ())
    pairs = [(gold, rf"\boxed{{{text}}}") for gold, text, _ in known]
    _, right = graded(pairs, scorer)
    assert list(zip(pairs, right, strict=True)) == [(pair, same) for pair, (*_, same) in zip(pairs, known, strict=True)]


def test_answers_in_prose():
    pairs = [("7", "The result is **7**."), ("7", "The result is 7."), (r"\frac{2}{3}", "So the probability is 2/3.")]
    pairs += [(r"\frac{2}{3}", "So it is **2/3**"), ("9", "Answer $ 9 $"), ("1000.99", "which is 1,000.99")]
    wrong = [("2", "So the probability is 2/3."), ("7", "the result is **8**")]
    finals, right = graded(pairs + wrong, "math_verify")
    assert right == [True] * len(pairs) + [False] * len(wrong)
    assert finals == ["7", "7", "2/3", "2/3", "9", "1000.99", "2/3", "8"]


@pytest.mark.parametrize("scorer", list(SCORERS))
def test_answers_that_pool_are_right_or_wrong_together(scorer):
    texts = [text for _, text in FINALS]
    texts += [rf"\boxed{{{text}}}" for row in SAME for text in row]
    texts += [rf"\boxed{{{text}}}" for _, text, _ in KNOWN + BY_MATHEMATICS] + [f"it is {text}" for _, text, _ in KNOWN]
    golds = ("18", r"\frac{3}{2}", "5", "x^2+1", "2,1")
    if scorer == "math_verify":
        texts, golds = texts[::4], ("2,1",)  # it takes a while for each
    for gold in golds:
        finals, right = graded([(gold, text) for text in texts], scorer)
        verdicts: dict[str, set[bool]] = {}
        for final, good in zip(finals, right, strict=True):
            verdicts.setdefault(final, set()).add(good)
        assert {final for final, found in verdicts.items() if len(found) > 1} == set()
        assert verdicts.get("", {False}) == {False}


def test_the_order_of_answers_changes_no_verdict():
    texts = [rf"\boxed{{{text}}}" for row in SAME[:6] for text in row]
    forth, back = (graded([(r"\sqrt{2}", text) for text in order], "math_verify") for order in (texts, texts[::-1]))
    assert forth == (back[0][::-1], back[1][::-1])


@pytest.mark.skipif(not (DATA and SHARED.is_file()), reason="there are no cases beside VAEBENCH_DATA")
@pytest.mark.parametrize("scorer", list(SCORERS))
def test_cases_beside_the_data(scorer):
    cases = [json.loads(line) for line in SHARED.read_text("utf-8").splitlines()]
    cases = [case for case in cases if case["scorer"] == scorer]
    if cases:
        _, right = graded([(case["gold"], case["answer"]) for case in cases], scorer)
        assert [case["why"] for case, good in zip(cases, right, strict=True) if good != case["right"]] == []


# Time

BEFORE = (
    *(
        *("", "#### ", "####", "\\boxed{", "\\boxed", '"answer": "', '"answer": ', "'answer': '"),
        *("the answer is ", "answer:"),
    ),
    *(
        *("\nA:", "<answer>", "</think>", "1,", "1/", "1 1/", "\\frac{", "\\sqrt{", "\\boxed{1 1/", "x="),
        *("$", "#### minus "),
    ),
)
RUNS = " \n\t9a-.,:$#\\{}()[]=*+/^_&<>\"'`|~A%" + "\u00a0\u2009é\u00d7√٣"


@pytest.mark.parametrize("scorer", ["gsm8k_strict", "gsm8k_flexible", "gsm8k_number", "boxed"])
def test_a_run_of_one_character_takes_linear_time(scorer):
    """Quadratic rules take minutes for these; 100,000 characters take well under 0.1 s on an idle core."""
    spent = {5_000: 0.0, 10_000: 0.0}
    for length, before, sign in itertools.product(spent, BEFORE, RUNS):
        started = time.process_time()
        graded([("1", before + sign * length)], scorer)
        seconds = time.process_time() - started
        assert seconds < 5, (before, sign)
        spent[length] += seconds
    assert spent[10_000] < 3 * spent[5_000] + 0.1


def test_a_long_answer_is_not_compared_by_mathematics(monkeypatch):
    monkeypatch.setattr(answers.Bounded, "ask", lambda *question: pytest.fail("math-verify was asked"))
    texts = [text % ("(x+1)" * 20_000) for text in (r"\boxed{%s}", "<answer>%s</answer>", '"answer": "%s"')]
    _, right = graded([("1", text) for text in texts], "math_verify")
    assert right == [False] * 3
