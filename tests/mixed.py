"""A table such as people have, made by chance: columns of every kind that hang together in known ways."""

import numpy as np
import pandas as pd

COUNTRIES = ("Austria", "Belgium", "Chad", "Denmark", "Estonia", "Fiji", "Ghana", "Haiti", "Iceland", "Japan")
PLANS = ("basic", "plus, yearly", 'the "gold" one')
SCHOOLS = ("primary", "secondary", "bachelor", "master")


def mixed_table(rows: int, seed: int) -> pd.DataFrame:
    """Customers, (rows, 18). Given the numbers of the customer's age, country and school, all else follows:

    customer_id   1, 2, 3, …
    country       ten frequent ones (1/k), and some forty rare ones in one row of fifty
    school        one of four in order, higher for the middle-aged
    age           whole, 18 to 90
    member        yes or no, P(yes) = 1/(1 + exp(−(age − 45)/8))
    newsletter    True or False; nine members of ten, two others of ten
    plan          of members mostly the gold one, of others mostly the basic one; with commas and quotes
    income        log-normal, ln = 10 + 0.4 school + 0.01 age ± 0.3, two decimals, missing for one in ten
    visits        negative binomial, mean 8 for members, 2 for others
    spent         0 without visits and for a third of the rest, otherwise Gamma(2) × 10 × visits, two decimals
    balance       a Student-t with 3 degrees of freedom × 1,000, around 0
    temperature   two modes: −5 ± 3 in the first five countries, 25 ± 2 elsewhere, one decimal
    current       1e−6 × (1 + visits/10) × (1 ± 0.05)
    stars         1 to 5, more for those who spent; missing for one in five
    joined        a day, the earlier the older the customer
    last_seen     a time, up to 400 days after joining
    phase         a uniform angle in (−π, π]
    version       v2 everywhere
    """
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1.0, len(COUNTRIES) + 1)
    common = rng.choice(len(COUNTRIES), rows, p=weights / weights.sum())
    rare = rng.random(rows) < 0.02
    country = np.where(
        rare, "Island " + pd.Series(rng.integers(0, 40, rows).astype(str)), np.array(COUNTRIES)[common]
    )
    age = np.clip(np.rint(rng.normal(45, 15, rows)), 18, 90)
    school = np.clip(np.rint(1.5 - ((age - 45) / 25) ** 2 + rng.normal(0, 0.8, rows) + 0.5), 0, 3).astype(int)
    member = rng.random(rows) < 1 / (1 + np.exp(-(age - 45) / 8))
    newsletter = rng.random(rows) < np.where(member, 0.9, 0.2)
    plan = np.where(member, rng.choice(3, rows, p=[0.1, 0.3, 0.6]), rng.choice(3, rows, p=[0.7, 0.25, 0.05]))
    income = np.exp(10 + 0.4 * school + 0.01 * age + rng.normal(0, 0.3, rows))
    mean = np.where(member, 8.0, 2.0)
    visits = rng.poisson(mean * rng.gamma(2.0, 0.5, rows))
    buys = (visits > 0) & (rng.random(rows) > 1 / 3)
    spent = np.where(buys, rng.gamma(2.0, 10.0, rows) * visits, 0.0)
    cold = ~rare & (common < 5)
    temperature = np.where(cold, rng.normal(-5, 3, rows), rng.normal(25, 2, rows))
    stars = np.clip(np.rint(2 + 0.6 * np.log1p(spent / 10) + rng.normal(0, 0.8, rows)), 1, 5)
    joined = np.rint(18000 - 60 * (age - 45) + rng.normal(0, 200, rows))
    seen = joined + rng.uniform(0, 400, rows)
    day = pd.Timestamp("1970-01-01")
    table = pd.DataFrame(
        {
            "customer_id": np.arange(1, rows + 1),
            "country": country,
            "school": np.array(SCHOOLS)[school],
            "age": age.astype(int),
            "member": np.where(member, "yes", "no"),
            "newsletter": newsletter,
            "plan": np.array(PLANS)[plan],
            "income": income.round(2),
            "visits": visits,
            "spent": spent.round(2),
            "balance": 1000 * rng.standard_t(3, rows),
            "temperature": temperature.round(1),
            "current": 1e-6 * (1 + visits / 10) * (1 + rng.normal(0, 0.05, rows)),
            "stars": pd.Series(stars).astype("Int64"),
            "joined": (day + pd.to_timedelta(joined, "D")).strftime("%Y-%m-%d"),
            "last_seen": (day + pd.to_timedelta(np.rint(seen * 86400), "s")).strftime("%Y-%m-%d %H:%M:%S"),
            "phase": np.pi - 2 * np.pi * rng.random(rows),
            "version": "v2",
        }
    )
    holes = {
        "income": 0.1,
        "stars": 0.2,
        "country": 0.03,
        "age": 0.05,
        "member": 0.02,
        "joined": 0.05,
        "spent": 0.05,
    }
    for name, share in holes.items():
        # older customers say less about what they earn
        odds = share * (2 * (age > np.median(age)) if name == "income" else 1.0)
        empty = rng.random(rows) < odds
        column = table[name].astype("Int64") if name == "age" else table[name]
        table[name] = column.where(~empty)
    return table
