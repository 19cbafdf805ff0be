Bsoftmax_outJ
C `#A&f 