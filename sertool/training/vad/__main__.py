from sertool.training.vad.train import main

main()
