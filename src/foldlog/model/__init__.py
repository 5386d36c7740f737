"""What users write, and the values that travel: plain types, no I/O.

stream    the grammar of names            event      @event, @command
query     what to read                    codec      values to bytes and back, strictly
schema    stored names to types, upcasts  message    Recorded, Draft, Send, Receipt
decider   decide and evolve               projection a fold that keeps rows
handler   an effect and its verdicts      retry      when to try again
shape     a type as JSON sees it           clock, principal
signature which events a function takes   thread     what blocks, in a thread of its own
verdict   a handler's answer, checked
"""
