Bsoftmax_outJ
I_ J%`