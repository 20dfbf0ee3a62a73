# Completion of credenza for tcsh. It asks the program, which reads the line in COMMAND_LINE; no name is evaluated.
complete credenza RULES 'n/--/c/' 'p@*@`credenza complete-line`@'
