"""One renderer a format over `Report` and `Plan`: concise, github, html, json_, junit, notebook,
sarif, terminal, plan_table.

A renderer turns a value into text and decides nothing. They do not know each other; import the
one you need (`terminal` and `plan_table` load rich).
"""
