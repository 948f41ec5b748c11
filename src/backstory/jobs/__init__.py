"""What a command, a service or a batch job does with files: rows in, results out.

Each job is one function in a file of its name. It takes an open model, a `Source` (which rows of which data)
and an `Output` (where to write). It returns a frozen record: the files that it wrote, the number of rows, how
many of them the model was trained on, and the figures. Jobs print nothing and parse no command line.

    fit, sample, encode, reconstruct, restore, impute, score, evaluate, describe    the jobs
    compare                                                                         of two tables
    source, output, schema_files                                                    rows in, results out
    damage, masks, units, inverse_problem                                           what restoration is given
    code_files, identifiers, restoration_files, line_sheet                          results of single jobs
"""
