Bgemm_outJ
Üwsçyà}oëz