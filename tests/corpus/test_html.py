"""What a reader of a page sees."""

from __future__ import annotations

import pytest

from zen_pipeline.corpus.reading.html import html_to_text, read_page


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>One</p><p>two &amp; <b>th</b>ree</p>", "One\n\ntwo & three"),
        ("<h2>Title</h2>text", "## Title\n\ntext"),
        ("<ul><li>one<li>two</ul>after", "- one\n- two\n\nafter"),
        ("<table><tr><th>a<th>b<tr><td>1<td>2</table>", "a\tb\n1\t2"),
        ("<pre>if x:\n    y</pre>", "```\nif x:\n    y\n```"),
        ("a<br>b  c\n d", "a\nb c d"),
        ("<style>p{}</style><script>x</script><nav>menu</nav><!-- note -->text", "text"),
        (
            "<form><div><h1>Mill</h1><p>Old.</p><select><option>a</select><textarea>b</textarea></div></form>",
            "# Mill\n\nOld.",
        ),
        ("<h2><button>Why?</button></h2><p>So.</p><button>Copy</button>", "## Why?\n\nSo."),
        ("<button><h3>Why?</h3></button>So.", "### Why?\n\nSo."),
        ("<h2>Title <button>Copy</button></h2>So.", "## Title\n\nSo."),
        ("<nav><ul><li><a>Home</a></ul></nav><nav><p>A walk in <a>five</a> parts.</p></nav>", "A walk in five parts."),
        ("<aside><p>Note.</p></aside><article><header><h1>T</h1></header>b</article>", "Note.\n\n# T\n\nb"),
        ("<p>text</p><noscript>Switch it on</noscript>", "text"),
        ("<noscript><p>all there is</p></noscript>", "all there is"),
        ("<details><summary>More</summary>inside</details>", "More\n\ninside"),
        ("10<sup>8</sup> m<sup>2</sup> 10<sup>-3</sup> x<sub>1</sub> Ca<sup>2+</sup>", "10^8 m^2 10^-3 x_1 Ca^2+"),
        ("e<sup>x<sup>2</sup></sup> a<sub>i + 1</sub> CO<sub>2</sub>", "e^(x^2) a_(i + 1) CO_2"),
        ("1<sup>st</sup> in 1990<sup><a>3</a></sup> note<sup>[4]</sup> x<sup>*</sup>", "1st in 1990[3] note[4] x*"),
        ("<math><mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup></math>", "E=mc^2"),
        ("<math><mfrac><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mn>2</mn></mfrac></math>", "(a+1)/2"),
        (
            "<math><mi>E</mi><annotation encoding='application/x-tex'>{\\displaystyle E_{0}}</annotation></math>",
            "$E_{0}$",
        ),
        ("<p>so <script type='math/tex'>x^2</script></p>", "so $x^2$"),
        ("1<wbr>000 a<del>old</del>b, he said <q>hi</q>", "1000 a~~old~~b, he said “hi”"),
        ("<ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>", "漢(kan)"),
        ("<ul><li><p>one</p><li><p>two</p><p>more</p></ul>", "- one\n- two\n\n  more"),
        ("<ul><li>a<ol start=3><li>b<li value=7>c</ol><li>d</ul>", "- a\n  3. b\n  7. c\n- d"),
        ("<dl><dt>term<dd>what it means<dt>other<dd>so</dl>", "term\nwhat it means\n\nother\nso"),
        ("<table><caption>C</caption><tr><td><p>1</p><td>2<br>3<tr><td><td>4</table>", "C\n\n1\t2 3\n\t4"),
        ("<table><tr><td><h1>Page</h1><p>One.</p><p>Two.</p></table>", "# Page\n\nOne.\n\nTwo."),
        ("<pre>a<br>```\nb</pre>", "````\na\n```\nb\n````"),
        ("<h1>two<br>lines</h1><h2></h2>", "# two lines"),
        ("<?xml version='1.0'?><html><head><script src='x'/></head><body><a id='y'/><p>t</p></body></html>", "t"),
        ("<head><title>t</title></head><body>汉字</body>", "汉字"),
        ("plain &lt;text&gt;", "plain <text>"),
        ("", ""),
    ],
)
def test_the_visible_text_of_a_page(page: str, text: str) -> None:
    assert html_to_text(page) == text


def test_elements_whose_content_is_left_out_are_counted() -> None:
    page = "<p>a</p><nav><a>b</a></nav><iframe>c</iframe><select><option>d</select><select><option>e</select>"
    assert read_page(page).left_out == {"nav": 1, "iframe": 1, "select": 2}


def test_nesting_beyond_what_browsers_do_is_refused() -> None:
    assert html_to_text("<div>" * 500 + "deep") == "deep"
    with pytest.raises(ValueError, match="nested more than 512 deep"):
        html_to_text("<div>" * 600 + "deep")
