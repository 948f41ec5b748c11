"""Write docs/options.md from the records of `backstory.options`: python docs/render_options.py."""

from pathlib import Path

from backstory.options.catalogue import page

if __name__ == "__main__":
    Path(__file__).with_name("options.md").write_text(page(), encoding="utf-8")
